"""Layer kinds by the module class they describe. Adding one is one decorated class in one file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn
from torch.nn.utils import parametrize

from autoquant.layers.spec import LayerSpec


class LayerKind(Protocol):
    """How autoquant reads and resizes one class of module.

    The parameters it describes are quantized and grown by their axes; a kind adds only what the
    axes do not say.

    Attributes:
        name: of the kind, for people.
        axis: optional: the axis of input and output that features and units lie along, counted
            from the front or, when negative, from the back; -1 where a kind has none.
    """

    name: str

    def describe(self, name: str, module: Any) -> LayerSpec:
        """The layer's facts."""
        ...

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """Attributes of the module that hold sizes, as they are for ``spec``."""
        ...


_KINDS: dict[type[nn.Module] | str, LayerKind] = {}


def layer_kind(
    module_type: type[nn.Module] | str, *given: Any
) -> Callable[[type[LayerKind]], type[LayerKind]]:
    """Register a layer kind for a class of module (its subclasses need their own).

    Args:
        module_type: the class, or its full name: of a library that need not be installed.
        given: handed to the kind's constructor.
    """

    def register(kind: type[LayerKind]) -> type[LayerKind]:
        _KINDS[module_type] = kind(*given)
        return kind

    return register


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind of a module, or None where no kind is registered for its class.

    A parametrized module has a class of its own; its base is what counts.
    """
    found = parametrize.type_before_parametrizations(module)
    return _KINDS.get(found) or _KINDS.get(f"{found.__module__}.{found.__qualname__}")
