"""The state of a recurrent stack: as user code holds it, and as each layer takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import State
from autoquant.layers.recurrent import RecurrentLayer


class StateLayout:
    """Parts (h,) or (h, c), each [L*D, B, W], as torch lays them out.

    Where layers differ in width, W is that of the widest, and narrower ones are padded with zeros.
    A state of the width that the model had before it was widened is taken too: units that widening
    duplicated get their source's value.

    Args:
        layers: the layers of the stack, first to last.
        original: width of each part before widening.
    """

    def __init__(self, layers: Sequence[RecurrentLayer], original: tuple[int, ...]) -> None:
        self._layers = [layer for layer in layers for _ in range(layer.directions)]
        self._original = original
        self._widest = tuple(map(max, zip(*(each.state_widths for each in layers), strict=True)))

    def start(self, batch: int, like: Tensor) -> list[State]:
        """Where each layer and direction begins by itself, each part [B, width of the layer]."""
        return [layer.start(batch, like) for layer in self._layers]

    def parts(self, hx: Any, *batch: int) -> State:
        """The parts of a state that user code gives, checked.

        Args:
            batch: B, or nothing where there is no batch axis.

        Raises:
            UserError: the state has other parts or another shape.
        """
        given = (hx,) if len(self._original) == 1 else hx
        names = ("h", "c")[: len(self._original)]
        if not (
            isinstance(given, tuple | list)
            and len(given) == len(names)
            and all(isinstance(part, Tensor) for part in given)
        ):
            wanted = "a pair of tensors (h, c)" if len(names) == 2 else "a tensor"
            raise UserError(f"the recurrent state must be {wanted}, got {_shown(hx)}")
        for i, (name, part) in enumerate(zip(names, given, strict=True)):
            self._check(name, part.shape, batch, {self._original[i], self._widest[i]})
        return tuple(given)

    def _check(
        self, name: str, shape: tuple[int, ...], batch: tuple[int, ...], widths: set[int]
    ) -> None:
        lead = (len(self._layers), *batch)
        if len(shape) != len(lead) + 1 or shape[:-1] != lead or shape[-1] not in widths:
            wanted = ", ".join([*map(str, lead), " or ".join(map(str, sorted(widths)))])
            raise UserError(
                f"{name} of the recurrent state must have the shape [{wanted}], got {list(shape)}"
            )

    def split(self, parts: State) -> list[State]:
        """Parts [L*D, B, W] -> the state of each layer and direction."""
        return [
            tuple(self._fitted(part[i], layer, k) for k, part in enumerate(parts))
            for i, layer in enumerate(self._layers)
        ]

    def _fitted(self, part: Tensor, layer: RecurrentLayer, k: int) -> Tensor:
        """One layer's share of part k of a state, [B, W]."""
        if part.shape[-1] == self._widest[k]:
            return part[..., : layer.state_widths[k]]
        if (k and layer.proj_size) or not hasattr(layer, "unit_sources"):
            return part  # as many cells behind a projection as ever
        return fitted(part, layer)

    def joined(self, states: Sequence[State]) -> State:
        """The state of each layer and direction -> parts [L*D, B, W]."""
        return tuple(
            torch.stack([_padded(part, width) for part in parts])
            for width, parts in zip(self._widest, zip(*states, strict=True), strict=True)
        )


def fitted(part: Tensor, layer: RecurrentLayer) -> Tensor:
    """A state as wide as a layer was before it was widened -> as wide as it is."""
    if part.shape[-1] == layer.units or not hasattr(layer, "unit_sources"):
        return part
    sources = layer.unit_sources.long()
    return torch.where(sources >= 0, part[..., sources.clamp_min(0)], 0.0)


def _padded(part: Tensor, width: int) -> Tensor:
    missing = width - part.shape[-1]
    return F.pad(part, (0, missing)) if missing else part


def _shown(hx: Any) -> str:
    kind = type(hx).__name__
    return f"{kind} of {len(hx)}" if isinstance(hx, tuple | list) else kind
