"""A stack of packed recurrent layers as one operator of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.quantization.native.matrix import Matrix, MatrixLayout
from autoquant.runtime.activation import ActivationCodes
from autoquant.runtime.direction import PackedWeights
from autoquant.runtime.layer_operands import LayerOperands, stack_of
from autoquant.runtime.operator import define
from autoquant.runtime.weight import ScaledMatrix

NUMBERS = len(MatrixLayout._fields)


class StackArguments(NamedTuple):
    """What the operator gets of a stack: tensors and numbers, in the order of its schema.

    Attributes:
        kind: of the cell.
        candidate: of the cell.
        directions: of each layer, 1 or 2.
        codes: for each direction of each layer, of the input and of the recurrent weight.
        sums: likewise.
        scales: likewise.
        layouts: likewise, MatrixLayout's numbers one after the other.
        biases: for each direction the bias and the bias of a GRU's candidate; an empty tensor where
            there is none, since torch.jit takes no list with absent ones.
        log_scales: for each layer, of its inputs and of its hidden state.
        bounds: likewise, the smallest and the largest code.
    """

    kind: str
    candidate: str
    directions: int
    codes: list[Tensor]
    sums: list[Tensor]
    scales: list[Tensor]
    layouts: list[int]
    biases: list[Tensor]
    log_scales: list[Tensor]
    bounds: list[int]

    @classmethod
    def of(cls, layers: Sequence[LayerOperands]) -> StackArguments:
        """The arguments for a stack.

        Args:
            layers: first to last.
        """
        cell = layers[0].cell
        directions = [direction for layer in layers for direction in layer.directions]
        weights = [weight for each in directions for weight in (each.input, each.recurrent)]
        biases = [bias for each in directions for bias in (each.bias, each.candidate_bias)]
        activations = [codes for layer in layers for codes in (layer.inputs, layer.hidden)]
        absent = weights[0].scale.new_empty(0)
        return cls(
            cell.kind,
            cell.candidate,
            len(layers[0].directions),
            [weight.matrix.codes for weight in weights],
            [weight.matrix.sums for weight in weights],
            [weight.scale for weight in weights],
            [number for weight in weights for number in weight.matrix.layout],
            [absent if bias is None else bias for bias in biases],
            [codes.log_scale for codes in activations],
            [bound for codes in activations for bound in codes.bounds],
        )

    @property
    def layers(self) -> list[LayerOperands]:
        """The inverse of ``of``."""
        cell: Any = Cell(self.kind, self.candidate)  # type: ignore[arg-type]
        layouts = [MatrixLayout(*numbers) for numbers in _parts(self.layouts, NUMBERS)]
        matrices = map(Matrix.of, layouts, self.codes, self.sums)
        weights = [ScaledMatrix(*each) for each in zip(matrices, self.scales, strict=True)]
        biases = [bias if bias.numel() else None for bias in self.biases]
        pairs = zip(_parts(weights, 2), _parts(biases, 2), strict=True)
        directions = [PackedWeights(*pair, *added) for pair, added in pairs]
        bounds = zip(self.log_scales, _parts(self.bounds, 2), strict=True)
        activations = [ActivationCodes.of(*each) for each in bounds]
        layers = zip(_parts(directions, self.directions), _parts(activations, 2), strict=True)
        return [LayerOperands(cell, tuple(each), *codes) for each, codes in layers]


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
        initial: (h,) or (h, c), each [L*D, B, W] with the width of the widest layer; nothing for
            zeros, only without batch sizes.
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
    width = max(layer.units for layer in layers)
    shape = sum(len(layer.directions) for layer in layers), sizes[0], width
    parts = [h0, c0] if layers[0].cell.kind == "lstm" else [h0]
    state = tuple(_checked(part, shape, inputs) for part in parts)
    call, result = stack_of(layers), None
    if rows.numel():
        result = call(rows, len(sizes), sizes[0], state, sizes)
    outputs, last = _run_layers(rows, sizes, state, layers) if result is None else result
    return outputs.view(*inputs.shape[:-1], -1), last[0], (*last, inputs.new_empty(0))[1]


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
    """One layer after the other: those with a NaN run on decoded weights.

    Args:
        rows: inputs [N, I].
        sizes: of the time steps.
        state: the initial one.
        layers: first to last.
    """
    first, width, last = 0, state[0].shape[2], []
    for layer in layers:
        end = first + len(layer.directions)
        states = [tuple(part[i, :, : layer.units] for part in state) for i in range(first, end)]
        rows, after = layer.run(rows, sizes, states)
        padding = 0, width - layer.units
        last += [tuple(F.pad(part, padding) for part in parts) for parts in after]
        first = end
    return rows, tuple(torch.stack(part) for part in zip(*last, strict=True))


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
    layouts = [MatrixLayout(*numbers) for numbers in _parts(arguments.layouts, NUMBERS)]
    units = [layout.columns for layout in layouts[1::2]]
    outputs = inputs.new_empty(*inputs.shape[:-1], arguments.directions * units[-1])
    state = inputs.new_empty(len(units), batch, max(units))
    has_cell_state = arguments.kind == "lstm"
    return outputs, state, torch.empty_like(state) if has_cell_state else inputs.new_empty(0)


define(
    "packed_recurrence(Tensor inputs, Tensor? batch_sizes, Tensor? h0, Tensor? c0, str kind, "
    "str candidate, int directions, Tensor[] codes, Tensor[] sums, Tensor[] scales, "
    "int[] layouts, Tensor[] biases, Tensor[] log_scales, int[] bounds) "
    "-> (Tensor, Tensor, Tensor)",
    _compute,
    _shapes,
)
