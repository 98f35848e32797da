"""The state of a recurrent stack: in user code's layout, and as each layer has it."""

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
    """The layout of a stack's state: parts (h,) or (h, c), each [L*D, B, W], as in torch.

    Where layers differ in width, W is that of the widest, and the state of narrower ones is padded
    with zeros. A state of the width that the model had before it was widened is accepted too: units
    that widening duplicated get their source's value.

    Args:
        layers: the layers of the stack, first to last.
        original: width of each part before widening.
    """

    def __init__(self, layers: Sequence[RecurrentLayer], original: tuple[int, ...]) -> None:
        self._layers = [layer for layer in layers for _ in range(layer.directions)]
        self._original = original
        self._widest = tuple(map(max, zip(*(layer.state_widths for layer in layers), strict=True)))

    def initial_states(self, batch: int, inputs: Tensor) -> list[State]:
        """The state of each layer and direction where none is given, each part [B, layer's width].

        Args:
            batch: number of sequences B.
            inputs: whose dtype and device the states have.
        """
        return [layer.initial_state(batch, inputs) for layer in self._layers]

    def checked_parts(self, hx: Any, *batch: int) -> State:
        """The parts of a state that user code gives, checked.

        Args:
            hx: the state.
            batch: B, or nothing where there is no batch axis.

        Raises:
            UserError: the state has other parts or another shape.
        """
        parts = (hx,) if len(self._original) == 1 else hx
        names = ("h", "c")[: len(self._original)]
        if not (
            isinstance(parts, (tuple, list))
            and len(parts) == len(names)
            and all(isinstance(part, Tensor) for part in parts)
        ):
            wanted = "a pair of tensors (h, c)" if len(names) == 2 else "a tensor"
            raise UserError(f"the recurrent state must be {wanted}, got {_shown(hx)}")
        for i, (name, part) in enumerate(zip(names, parts, strict=True)):
            self._check(name, part.shape, batch, {self._original[i], self._widest[i]})
        return tuple(parts)

    def _check(
        self, name: str, shape: tuple[int, ...], batch: tuple[int, ...], widths: set[int]
    ) -> None:
        """Raise a UserError unless a part has the right shape.

        Args:
            name: of the part.
            shape: that it has.
            batch: B, or nothing.
            widths: that it may have.
        """
        lead = (len(self._layers), *batch)
        # compared one by one: a size that is traced has no hash
        has_width = any(shape[-1] == width for width in widths)
        if len(shape) != len(lead) + 1 or shape[:-1] != lead or not has_width:
            wanted = ", ".join([*map(str, lead), " or ".join(map(str, sorted(widths)))])
            raise UserError(
                f"{name} of the recurrent state must have the shape [{wanted}], got {list(shape)}"
            )

    def split(self, parts: State) -> list[State]:
        """The state of each layer and direction.

        Args:
            parts: each [L*D, B, W].
        """
        return [
            tuple(self._layer_part(part[i], layer, k) for k, part in enumerate(parts))
            for i, layer in enumerate(self._layers)
        ]

    def _layer_part(self, part: Tensor, layer: RecurrentLayer, k: int) -> Tensor:
        """A part of one layer's state, at the layer's width.

        Args:
            part: of one layer and direction, [B, W].
            layer: whose state it is.
            k: 0 for h, 1 for c.
        """
        if part.shape[-1] == self._widest[k]:
            return part[..., : layer.state_widths[k]]
        if k and layer.proj_size:
            return part  # with a projection the number of cells never changes
        return widen_state(part, layer)

    def join(self, states: Sequence[State]) -> State:
        """The inverse of ``split``: parts [L*D, B, W].

        Args:
            states: of each layer and direction.
        """
        return tuple(
            torch.stack([_padded(part, width) for part in parts])
            for width, parts in zip(self._widest, zip(*states, strict=True), strict=True)
        )


def widen_state(part: Tensor, layer: RecurrentLayer) -> Tensor:
    """A part of a state at the width that a layer has now.

    Args:
        part: [B, W], of that width, or of the one before the layer was widened.
        layer: whose state it is.
    """
    if part.shape[-1] == layer.units or not hasattr(layer, "unit_sources"):
        return part
    sources = layer.unit_sources.long()
    return torch.where(sources >= 0, part[..., sources.clamp_min(0)], 0.0)


def _padded(part: Tensor, width: int) -> Tensor:
    missing = width - part.shape[-1]
    return F.pad(part, (0, missing)) if missing else part


def _shown(hx: Any) -> str:
    kind = type(hx).__name__
    return f"{kind} of {len(hx)}" if isinstance(hx, (tuple, list)) else kind
