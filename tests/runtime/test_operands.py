"""Weights, layers and calls whose sizes do not fit together: refused, never read past an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.kernels import Cell
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid
from autoquant.runtime import PackedLinear, PackedRecurrentLayer, PackedWeight
from autoquant.runtime.direction import Direction, PackedWeights
from autoquant.runtime.linear_call import LinearCall, input_codes
from autoquant.runtime.stack_call import StackCall
from autoquant.settings import Scheme
from tests.quantization.native.machine import NEEDS_KERNELS

GRID, UNITS, FEATURES = Grid.signed(4), 6, 8


def codes(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-8, 8, shape, dtype=torch.int8, generator=generator)


def weight(rows: int, columns: int, gates: int = 1) -> PackedWeight:
    return PackedWeight(codes(rows, columns), torch.full((rows, 1), 0.1), GRID, 4, gates=gates)


def quantizer() -> ActivationQuantizer:
    made = ActivationQuantizer(8, Scheme())
    made.restore(-3.0, -128)
    return made


def layer(**changed: Any) -> PackedRecurrentLayer:
    like = RecurrentLayer(Cell("lstm"), FEATURES, UNITS, bidirectional=False, bias=True)
    parameters = {
        "weight_ih": weight(4 * UNITS, FEATURES),
        "weight_hh": weight(4 * UNITS, UNITS, 4),
        "bias": torch.zeros(4 * UNITS),
    }
    return PackedRecurrentLayer(like, parameters | changed, quantizer(), quantizer())


def direction(features: int, units: int, kind: str = "lstm", **changed: Any) -> Direction:
    cell = Cell(kind)  # type: ignore[arg-type]
    rows = cell.gates * units
    parts = {
        "input": weight(rows, features).scaled_matrix,
        "recurrent": weight(rows, units, cell.gates if cell.gates > 1 else 1).scaled_matrix,
        "bias": torch.zeros(rows),
        "candidate_bias": torch.zeros(units) if kind == "gru" else None,
    }
    params = input_codes(quantizer(), units).params()
    return Direction(cell, PackedWeights(**parts | changed), params, params)


def states(batch: int, units: int = UNITS) -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(batch, units), torch.zeros(batch, units))]


# --- weights and layers ---------------------------------------------------------------------------

WEIGHTS: dict[str, tuple[Callable[[], Any], str]] = {
    "no rows": (lambda: weight(0, 4), r"int8 \[rows, columns\].*got torch.int8 \[0, 4\]"),
    "no columns": (lambda: weight(4, 0), r"int8 \[rows, columns\].*got torch.int8 \[4, 0\]"),
    "an odd number of rows": (lambda: weight(7, 4, gates=4), "rows for each of 4 gates"),
    "floats": (
        lambda: PackedWeight(torch.ones(3, 4), torch.ones(3, 1), GRID, 4),
        "must be int8.*got torch.float32",
    ),
    "three axes": (
        lambda: PackedWeight(codes(3, 4, 2), torch.ones(3, 1), GRID, 4),
        r"got torch.int8 \[3, 4, 2\]",
    ),
    "too few scales": (
        lambda: PackedWeight(codes(3, 4), torch.ones(2, 1), GRID, 4),
        r"\[1, 1\] or \[3, 1\], got torch.float32 \[2, 1\]",
    ),
    "scales of columns": (
        lambda: PackedWeight(codes(3, 4), torch.ones(1, 4), GRID, 4),
        r"\[1, 1\] or \[3, 1\]",
    ),
    "whole scales": (
        lambda: PackedWeight(codes(3, 4), torch.ones(3, 1, dtype=torch.int64), GRID, 4),
        "got torch.int64",
    ),
    "too few bits": (
        lambda: PackedWeight(codes(3, 4), torch.ones(3, 1), GRID, 3),
        "bits of their grid, 1 to 8, got 3",
    ),
    "too many bits": (
        lambda: PackedWeight(codes(3, 4), torch.ones(3, 1), GRID, 9),
        "bits of their grid, 1 to 8, got 9",
    ),
    "codes outside of the grid": (
        lambda: PackedWeight(codes(30, 4), torch.ones(30, 1), Grid.signed(3), 4),
        r"in \[-4, 3\], got \[-8, 7\]",
    ),
    "a bias of a linear layer": (
        lambda: PackedLinear(weight(6, 8), torch.zeros(5), quantizer()),
        r"the bias must be \[6\], got \[5\]",
    ),
    "an input weight of 12 features": (
        lambda: layer(weight_ih=weight(4 * UNITS, 12)),
        r"weight_ih must be \[24, 8\], got \[24, 12\]",
    ),
    "a recurrent weight of 8 units": (
        lambda: layer(weight_hh=weight(4 * UNITS, 8, 4)),
        r"weight_hh must be \[24, 6\], got \[24, 8\]",
    ),
    "a bias of a recurrent layer": (
        lambda: layer(bias=torch.zeros(3)),
        r"bias must be \[24\], got \[3\]",
    ),
    "no gates": (
        lambda: direction(8, 6, recurrent=weight(24, 6).scaled_matrix),
        "24 rows for 6 units",
    ),
    "weights of two widths": (
        lambda: direction(8, 6, input=weight(20, 8).scaled_matrix),
        "24 rows for 6 units, got 20 and 24",
    ),
    "a bias of a direction": (lambda: direction(8, 6, bias=torch.zeros(23)), "with 24 entries"),
    "a candidate's bias": (
        lambda: direction(8, 6, "gru", candidate_bias=torch.zeros(5)),
        "with 6 entries",
    ),
    "layers of other widths": (
        lambda: StackCall([direction(8, 6), direction(12, 6)], 1),
        "layer 1 of a recurrent stack .* read 6 features",
    ),
    "directions of other widths": (
        lambda: StackCall([direction(8, 6), direction(8, 5)], 2),
        "layer 0 of a recurrent stack .* one width",
    ),
    "layers of other cells": (
        lambda: StackCall([direction(8, 6), direction(6, 6, "gru")], 1),
        "layer 1 of a recurrent stack .* first layer's cell",
    ),
}


@NEEDS_KERNELS
@pytest.mark.parametrize(("build", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_parts_that_do_not_fit_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_a_parameter_that_is_missing_is_named() -> None:
    like = RecurrentLayer(Cell("lstm"), FEATURES, UNITS, bidirectional=False, bias=True)
    with pytest.raises(UserError, match="must have weight_ih"):
        PackedRecurrentLayer(like, {}, None, None)


def test_codes_outside_of_the_grid_in_a_state_dict_are_refused() -> None:
    """Three levels take two bits, which hold a fourth."""
    ternary = PackedWeight(torch.zeros(2, 4, dtype=torch.int8), torch.ones(2, 1), Grid(-1, 1, 0), 2)
    with pytest.raises(UserError, match=r"in \[-1, 1\], got \[2, 2\]"):
        ternary.set_extra_state(torch.full((2, 1), 255, dtype=torch.uint8))


# --- calls ----------------------------------------------------------------------------------------

OTHERS: dict[str, Tensor] = {
    "too few": torch.zeros(3, 7),
    "too many": torch.zeros(4, 8),
    "none": torch.zeros(0, 8),
    "doubles": torch.zeros(3, 8, dtype=torch.float64),
    "halves": torch.zeros(3, 8, dtype=torch.float16),
    "with gaps": torch.zeros(3, 16)[:, ::2],
    "without numbers": torch.zeros(3, 8, device="meta"),
}
EVERY_OTHER = pytest.mark.parametrize("inputs", OTHERS.values(), ids=OTHERS)


@NEEDS_KERNELS
@EVERY_OTHER
def test_a_stack_refuses_other_inputs(inputs: Tensor) -> None:
    stack = StackCall([direction(8, 6), direction(6, 6)], 1)
    assert stack(torch.zeros(3, 8), 1, 3, None) is not None
    with pytest.raises(UserError, match=r"a kernel's operand must be contiguous torch.float32"):
        stack(inputs, 1, 3, None)


@NEEDS_KERNELS
@EVERY_OTHER
def test_a_stack_refuses_other_states(inputs: Tensor) -> None:
    stack = StackCall([direction(6, 8)], 1)
    right = torch.zeros(1, 3, 8)
    assert stack(torch.zeros(3, 6), 1, 3, (right, right)) is not None
    for state in ((inputs[None], right), (right, inputs[None])):
        with pytest.raises(UserError, match="a kernel's operand must be"):
            stack(torch.zeros(3, 6), 1, 3, state)


@NEEDS_KERNELS
@pytest.mark.parametrize(
    "sizes", [[1, 2], [2, -1, 2], [3], [2], [2, 1, 0]], ids=lambda value: str(value)
)
def test_a_stack_refuses_sizes_of_no_sequences(sizes: list[int]) -> None:
    stack = StackCall([direction(8, 6)], 1)
    assert stack(torch.zeros(3, 8), 2, 2, None, [2, 1]) is not None
    with pytest.raises(UserError, match="sizes must not increase from 2 on"):
        stack(torch.zeros(3, 8), 2, 2, None, sizes)


@NEEDS_KERNELS
@EVERY_OTHER
def test_a_product_refuses_other_inputs(inputs: Tensor) -> None:
    call = LinearCall(weight(5, 8).scaled_matrix, None, input_codes(quantizer(), 8).params())
    assert call(torch.zeros(3, 8)).shape == (3, 5)
    if inputs.shape[0] == 4:
        assert call(inputs).shape == (4, 5)
        return
    with pytest.raises(UserError, match="a kernel's operand must be"):
        call(inputs)


@NEEDS_KERNELS
@pytest.mark.parametrize("where", ["inputs", "state", "sizes"])
def test_a_layer_refuses_what_does_not_fit(where: str) -> None:
    """Called by itself, without the stack that checks what user code gives."""
    packed = layer()
    right: dict[str, Any] = {"inputs": torch.zeros(3, 8), "sizes": [3], "states": states(3)}
    assert packed(**right)[0].shape == (3, 6)
    wrong = {
        "inputs": {"inputs": torch.zeros(3, 7)},
        "state": {"states": states(3, 5)},
        "sizes": {"sizes": [2, 2], "states": states(2)},
    }
    with pytest.raises(UserError, match="must"):
        packed(**right | wrong[where])
