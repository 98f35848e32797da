"""A stack of packed recurrent layers as one operator of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.kernels.recurrent.cell import GATES
from autoquant.quantization.native.matrix import Matrix, MatrixLayout
from autoquant.quantization.native.operator import define
from autoquant.runtime.activation import Activation
from autoquant.runtime.layer_operands import Held, LayerOperands, stack_of
from autoquant.runtime.weight import ScaledMatrix

NUMBERS = len(MatrixLayout._fields)


class StackArguments(NamedTuple):
    """What the operator gets of a stack: tensors and numbers, in the order of its schema.

    Attributes:
        kind: of the cell.
        candidate: of the cell.
        directions: of each layer, 1 or 2.
        names: of the parameters of a direction, joined by commas.
        tensors: of each parameter of each direction of each layer: codes, sums and scale of a
            packed one, the values of another.
        layouts: likewise, MatrixLayout's numbers one after the other; see ``_float_layout``.
        log_scales: for each layer, of its inputs and of its hidden state; an empty tensor where
            there is none, since torch.jit takes no list with absent ones.
        activations: likewise, Activation's numbers one after the other.
    """

    kind: str
    candidate: str
    directions: int
    names: str
    tensors: list[Tensor]
    layouts: list[int]
    log_scales: list[Tensor]
    activations: list[int]

    @classmethod
    def of(cls, layers: Sequence[LayerOperands]) -> StackArguments:
        """The arguments for a stack.

        Args:
            layers: first to last.
        """
        first = layers[0]
        parameters = [
            held for layer in layers for each in layer.directions for held in each.values()
        ]
        activations = [each for layer in layers for each in (layer.inputs, layer.hidden)]
        tensors = [tensor for held in parameters for tensor in _tensors(held)]
        absent = tensors[0].new_empty(0)
        return cls(
            first.cell.kind,
            first.cell.candidate,
            len(first.directions),
            ",".join(first.directions[0]),
            tensors,
            [number for held in parameters for number in _layout(held)],
            [absent if each.log_scale is None else each.log_scale for each in activations],
            [number for each in activations for number in each.numbers],
        )

    @property
    def matrix_layouts(self) -> list[MatrixLayout]:
        """The layout of each parameter of each direction of each layer."""
        return [MatrixLayout(*numbers) for numbers in _parts(self.layouts, NUMBERS)]

    @property
    def layers(self) -> list[LayerOperands]:
        """The inverse of ``of``."""
        cell: Any = Cell(self.kind, self.candidate)  # type: ignore[arg-type]
        tensors, names = iter(self.tensors), self.names.split(",")
        held = [_held(layout, tensors) for layout in self.matrix_layouts]
        directions = [dict(zip(names, each, strict=True)) for each in _parts(held, len(names))]
        numbers = _parts(self.activations, len(self.activations) // len(self.log_scales))
        activations = [
            Activation(log_scale if log_scale.numel() else None, (*each,))
            for log_scale, each in zip(self.log_scales, numbers, strict=True)
        ]
        layers = zip(_parts(directions, self.directions), _parts(activations, 2), strict=True)
        return [LayerOperands(cell, tuple(each), *both) for each, both in layers]


def _tensors(held: Held) -> list[Tensor]:
    if isinstance(held, ScaledMatrix):
        return [held.matrix.codes, held.matrix.sums, held.scale]
    return [held]


def _layout(held: Held) -> MatrixLayout:
    return held.matrix.layout if isinstance(held, ScaledMatrix) else _float_layout(held)


def _float_layout(values: Tensor) -> MatrixLayout:
    """What stands for the layout of a float parameter: rows, columns, and codes of no bits."""
    rows, columns = (*values.shape, 1)[:2]
    return MatrixLayout(rows, columns, *[0] * (NUMBERS - 2))


def _held(layout: MatrixLayout, tensors: Iterator[Tensor]) -> Held:
    """The next parameter.

    Args:
        layout: of the parameter.
        tensors: of all that are left; its own are taken.
    """
    if not layout.bits:
        return next(tensors)
    return ScaledMatrix(Matrix.of(layout, next(tensors), next(tensors)), next(tensors))


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def packed_recurrence(
    inputs: Tensor,
    batch_sizes: Tensor | None,
    initial: State,
    layers: Sequence[LayerOperands],
) -> tuple[Tensor, State]:
    """Run a stack over time.

    Args:
        inputs: [T, B, I]; [N, I] where there are batch sizes. Float32 on the CPU.
        batch_sizes: int64, how many sequences are active at each time step, or None.
        initial: (h,) or (h, c), each [L*D, B, W] with the part's width in the widest layer; nothing
            for zeros, only without batch sizes.
        layers: first to last.

    Returns:
        outputs, in the form of the inputs, and the last state, laid out as the initial one.
    """
    h0, c0 = (*initial, None, None)[:2]
    outputs, h, c = torch.ops.autoquant.packed_recurrence(
        inputs, batch_sizes, h0, c0, *StackArguments.of(layers)
    )
    return outputs, (h, c) if layers[0].cell.kind == "lstm" else (h,)


def _compute(
    inputs: Tensor, batch_sizes: Tensor | None, h0: Tensor | None, c0: Tensor | None, *stack: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator's function.

    Args:
        inputs: as in ``packed_recurrence``.
        batch_sizes: as in ``packed_recurrence``.
        h0: the first part of the initial state, or None.
        c0: the second part, or None.
        stack: StackArguments.
    """
    layers = StackArguments(*stack).layers
    sizes = _sizes(inputs, batch_sizes)
    rows = inputs.flatten(0, -2).contiguous()
    lead = sum(len(layer.directions) for layer in layers), sizes[0]
    widths = map(max, zip(*(layer.state_widths for layer in layers), strict=True))
    parts = zip((h0, c0), widths, strict=False)
    state = tuple(_checked(part, (*lead, width), inputs) for part, width in parts)
    call = stack_of(layers) if rows.numel() else None
    result = None if call is None else call(rows, len(sizes), sizes[0], state, sizes)
    outputs, last = _run_layers(rows, sizes, state, layers) if result is None else result
    outputs = outputs.view(*inputs.shape[:-1], outputs.shape[-1])
    return outputs, last[0], (*last, inputs.new_empty(0))[1]


def _sizes(inputs: Tensor, batch_sizes: Tensor | None) -> list[int]:
    """Active sequences at each time step.

    Args:
        inputs: as in ``packed_recurrence``.
        batch_sizes: as in ``packed_recurrence``.

    Raises:
        UserError: they are not those of the inputs.
    """
    if batch_sizes is None and inputs.ndim == 3 and len(inputs):
        return [inputs.shape[1]] * inputs.shape[0]
    sizes: list[int] = [] if batch_sizes is None else batch_sizes.tolist()
    falls = sizes == sorted(sizes, reverse=True) and min(sizes, default=0) > 0
    if not falls or inputs.ndim != 2 or sum(sizes) != len(inputs):
        raise UserError(
            "recurrent inputs must be [T, B, I], or [N, I] with batch sizes that add up to N, "
            f"got {[*inputs.shape]}"
        )
    return sizes


def _checked(part: Tensor | None, shape: tuple[int, ...], inputs: Tensor) -> Tensor:
    """A part of the initial state, contiguous.

    Args:
        part: None for zeros.
        shape: that it must have.
        inputs: whose dtype it has.
    """
    if part is None:
        return inputs.new_zeros(shape)
    if part.shape != shape:
        raise UserError(f"the recurrent state must be {[*shape]}, got {[*part.shape]}")
    return part.contiguous()


def _run_layers(
    rows: Tensor, sizes: list[int], state: State, layers: Iterable[LayerOperands]
) -> tuple[Tensor, State]:
    """One layer after the other; see ``LayerOperands.run``.

    Args:
        rows: inputs [N, I].
        sizes: of the time steps.
        state: the initial one.
        layers: first to last.
    """
    first, last = 0, []
    for layer in layers:
        end, widths = first + len(layer.directions), layer.state_widths
        states = [
            tuple(part[i, :, :width] for part, width in zip(state, widths, strict=True))
            for i in range(first, end)
        ]
        rows, after = layer.run(rows, sizes, states)
        last += [tuple(map(_padded, parts, state)) for parts in after]
        first = end
    return rows, tuple(torch.stack(part) for part in zip(*last, strict=True))


def _padded(part: Tensor, like: Tensor) -> Tensor:
    """A part of a state with zeros up to the width of another."""
    return F.pad(part, (0, like.shape[-1] - part.shape[-1]))


def _shapes(
    inputs: Tensor, batch_sizes: Tensor | None, h0: Tensor | None, c0: Tensor | None, *stack: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Empty results.

    Args:
        inputs: as in ``_compute``, like all that follow.
        batch_sizes: of the inputs.
        h0: the first part of the initial state.
        c0: the second part.
        stack: StackArguments.
    """
    arguments = StackArguments(*stack)
    batch = inputs.shape[1] if h0 is None else h0.shape[1]
    names = arguments.names.split(",")
    recurrent = arguments.matrix_layouts[names.index("weight_hh") :: len(names)]
    units = [layout.columns for layout in recurrent]
    outputs = inputs.new_empty(*inputs.shape[:-1], arguments.directions * units[-1])
    h = inputs.new_empty(len(units), batch, max(units))
    if arguments.kind != "lstm":
        return outputs, h, inputs.new_empty(0)
    cells = [layout.rows // GATES["lstm"] for layout in recurrent]
    return outputs, h, inputs.new_empty(len(units), batch, max(cells))


define(
    "packed_recurrence(Tensor inputs, Tensor? batch_sizes, Tensor? h0, Tensor? c0, str kind, "
    "str candidate, int directions, str names, Tensor[] tensors, int[] layouts, "
    "Tensor[] log_scales, int[] activations) -> (Tensor, Tensor, Tensor)",
    _compute,
    _shapes,
)
