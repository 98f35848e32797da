"""ProcessState: what a program has set for its whole process, and jobs elsewhere need as well."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from autoquant.graph.tracing.operations import registry as operations
from autoquant.kernels.recurrent.registry import ENGINES, RegisteredEngine
from autoquant.layers import registry as layer_kinds
from autoquant.quantization import formats, scale_rules
from autoquant.settings import GRIDS, KERNELS, SCALES

_REGISTRIES: dict[str, MutableMapping[Any, Any]] = {
    "operation": operations.OPERATIONS,
    "layer kind": layer_kinds._KINDS,
    "number format": formats._FORMATS,
    "scale rule": scale_rules._RULES,
}
"""Extensions that a training may use, by the words for them."""
_NAMES = (SCALES, GRIDS, KERNELS)
"""Values of settings that extensions add to."""


@dataclass(frozen=True)
class ProcessState:
    """Extensions that the user's program has registered, and torch's global settings.

    A worker does not import the user's main module, where extensions may be registered.

    Attributes:
        extensions: by registry, what is not autoquant's own.
        names: of extensions, that settings accept: those of each list of _NAMES.
        engines: (position, engine) of those that are not autoquant's own.
        dtype: torch's default.
        matmul_precision: torch's for float32.
        deterministic: torch's debug mode for deterministic algorithms.
        cudnn: whether cuDNN is deterministic, and whether it tries algorithms first.
    """

    extensions: dict[str, dict[Any, Any]]
    names: tuple[tuple[str, ...], ...]
    engines: tuple[tuple[int, RegisteredEngine], ...]
    dtype: torch.dtype
    matmul_precision: str
    deterministic: int
    cudnn: tuple[bool, bool]

    @classmethod
    def current(cls) -> Self:
        """That of this process."""
        return cls(
            {
                kind: {key: value for key, value in registry.items() if not _is_own(value)}
                for kind, registry in _REGISTRIES.items()
            },
            tuple(map(tuple, _NAMES)),
            tuple(
                (position, engine)
                for position, engine in enumerate(ENGINES)
                if not _is_own(engine.factory)
            ),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.get_deterministic_debug_mode(),
            (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        )

    def apply(self) -> None:
        """Give this process the same state."""
        for kind, entries in self.extensions.items():
            _REGISTRIES[kind].update(entries)
        for accepted, names in zip(_NAMES, self.names, strict=True):
            for name in names:
                accepted.register(name)
        here = {_name_of(engine) for engine in ENGINES}
        for position, engine in self.engines:
            if _name_of(engine) not in here:  # its module registers it when it is imported
                ENGINES.insert(position, engine)
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.set_deterministic_debug_mode(self.deterministic)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = self.cudnn


def _is_own(extension: Any) -> bool:
    """Whether an extension is autoquant's own, which every process has."""
    return str(getattr(extension, "__module__", "")).startswith("autoquant.")


def _name_of(engine: RegisteredEngine) -> tuple[str, str, str]:
    """What tells an engine from others, in every process."""
    factory = engine.factory
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    return engine.name, factory.__module__, name
