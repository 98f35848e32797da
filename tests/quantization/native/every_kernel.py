"""Runs every kernel on odd shapes and compares it with plain torch; a program for sanitizers.

    python -m tests.quantization.native.every_kernel

Tests run it in a process of its own, on a library that they have built. It prints which kernels
ran and how many checks went well, or fails.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.backend import Compute, computing
from autoquant.kernels import Cell, Recurrence, Weights, cross_entropy, linear, recur
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.quantization import native
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params, decode, encode
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.quantization.native import library
from autoquant.runtime import PackedLinear, PackedRecurrentLayer, PackedWeight
from autoquant.settings import Scheme

CELLS = {
    "lstm": Cell("lstm"),
    "sigmoid lstm": Cell("lstm", "sigmoid"),
    "gru": Cell("gru"),
    "rnn": Cell("rnn_tanh"),
    "relu": Cell("rnn_relu"),
}
WIDTHS = (1, 7, 8, 17, 33, 70)  # about the vectors, blocks and chunks of every instruction set
SIZES = ((1,), (3, 3, 2, 1), (25, 25, 24))  # sequences at each step; groups of rows are of 24
Checks = Iterator[None]
generator = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def codes_on(grid: Grid, *shape: int) -> Tensor:
    drawn = torch.randint(grid.qmin, grid.qmax + 1, shape, generator=generator)
    return drawn.to(torch.int8)


def on_grid(grid: Grid, scale: Tensor, *shape: int) -> Tensor:
    """Values that are marked with their codes."""
    values = decode(codes_on(grid, *shape).float(), scale, grid)
    return attach_quant_params(values, QuantParams(scale, grid))


def activations(bits: int, *, signed: bool, step: float = 0.1) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(bits, Scheme())
    quantizer.restore(float(torch.tensor(step).log()), -(1 << bits - 1) if signed else 0)
    return quantizer


def agree(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """Within a share of the largest value."""
    largest = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(largest, 1e-3))


def equal(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


# --- codes ----------------------------------------------------------------------------------------


def packing() -> Checks:
    """pack, packed_size, lanes."""
    for bits, gates, units, columns in product(range(1, 9), (1, 3, 4), WIDTHS, (1, 5, 32, 67)):
        grid = Grid.signed(bits)
        codes = codes_on(grid, gates * units, columns)
        equal(native.pack_codes(codes, grid, bits, gates).unpacked(), codes)
        scale = noise(gates * units, 1).abs() + 0.1
        values = decode(codes.float(), scale, grid)
        for steps in (scale, scale[:1]):
            packed = native.pack_values(
                decode(codes.float(), steps, grid), QuantParams(steps, grid), gates
            )
            equal(packed.unpacked(), codes)
        values[-1, -1] = torch.nan
        assert not native.pack_values(values, QuantParams(scale, grid), gates).finite
        yield


def encoding() -> Checks:
    """encode."""
    for bits, columns, rows in product((2, 5, 8), (1, 7, 8, 31, 33), (1, 3)):
        for grid in (Grid.unsigned(bits), Grid.signed(bits, "midtread")):
            values, scale = noise(rows, columns) * 3, torch.tensor(0.1)
            values[0, 0] = torch.inf
            codes, sums, finite = native.encode(values, float(scale), grid, -(-columns // 32) * 32)
            expected = encode(values, scale, grid)
            assert finite
            equal(codes[:, :columns].float(), expected - grid.qmin)
            equal(sums.float(), expected.sum(1))
            values[-1, -1] = torch.nan
            assert not native.encode(values, 0.1, grid, 64)[2]
            yield


# --- products -------------------------------------------------------------------------------------


def linears() -> Checks:
    """encode, pack, linear and, packed, linear_call; with gradients."""
    for bits, units, columns, rows in product((1, 3, 4, 8), WIDTHS, (1, 33, 70), (1, 2, 25)):
        grid, rule = Grid.signed(bits), activations(8, signed=bits != 3)
        scale, bias = noise(units, 1).abs() + 0.1, noise(units)
        weight = on_grid(grid, scale, units, columns).requires_grad_()
        inputs = noise(rows, columns).requires_grad_()
        ours = linear(rule(inputs), weight, bias)
        agree(ours, F.linear(rule(inputs), weight, bias))
        ours.sum().backward()
        packed = PackedWeight(
            encode(weight.detach(), scale, grid).to(torch.int8), scale, grid, bits
        )
        with torch.no_grad():
            equal(PackedLinear(packed, bias, rule)(inputs), ours)
        yield


def _weights(cell: Cell, units: int, bits: int, features: int) -> tuple[Weights, list[Any]]:
    """Marked weights of one direction, and what packs them."""
    rows, grid = cell.gates * units, Grid.signed(bits)
    held = []
    for columns in (features, units):
        scale = (noise(rows, 1).abs() + 0.5) / ((grid.qmax + 1) * columns**0.5)
        held.append((on_grid(grid, scale, rows, columns), scale, grid))
    bias = noise(rows) / 4
    extra = noise(units) / 4 if cell.kind == "gru" else None
    return Weights(held[0][0], held[1][0], bias, extra), held


def _run(given: tuple[Any, ...], kernel: str, precision: str) -> list[Tensor]:
    """Outputs, last state, and the gradients of inputs, weights and state."""
    cell, inputs, sizes, weights, state, quantize = given
    named = [inputs, *state, weights.bias]
    leaves = [each.detach().requires_grad_() for each in named]
    own = weights._replace(bias=leaves[-1])
    with computing(Compute(kernel, precision)):
        state = tuple(leaves[1:-1])
        outputs, last = recur(Recurrence(cell, leaves[0], sizes, own, state, quantize))
        loss = (outputs * outputs).sum() + sum(part.sum() for part in last)
        gradients = torch.autograd.grad(loss, leaves)
    return [outputs.detach(), *(part.detach() for part in last), *gradients]


def _near(ours: list[Tensor], theirs: list[Tensor], share: float) -> None:
    """Codes on the border between two may differ, so a mean is what counts."""
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.isfinite().all()
        spread = float(other.abs().mean()) + 1e-2
        assert float((mine - other).abs().mean()) <= share * spread, (mine, other)


def recurrences() -> Checks:
    """forward, backward, panel_size, fill_panel; and packed: stack_call."""
    for (cell, units), sizes in product(product(CELLS.values(), WIDTHS), SIZES):
        for bits, hidden in ((1, 4), (4, 8), (8, 8)):
            yield from _recurrence(cell, units, sizes, bits, hidden)


def _recurrence(cell: Cell, units: int, sizes: tuple[int, ...], bits: int, hidden: int) -> Checks:
    signed = cell.kind != "rnn_relu" and cell.candidate == "tanh"
    rule = activations(8, signed=True, step=0.03)
    quantize = activations(hidden, signed=signed, step=2.2 / (1 << hidden))
    weights, held = _weights(cell, units, bits, 5)
    state = [noise(sizes[0], units).clamp(-1, 1) for _ in range(1 + (cell.kind == "lstm"))]
    inputs = noise(sum(sizes), 5)
    given = cell, rule(inputs).detach(), sizes, weights, tuple(state), quantize
    expected = _run(given, "reference", "float32")
    ours = _run(given, "native", "float32")
    _near(ours, expected, 0.1)
    _near(_run(given, "native", "bfloat16"), expected, 0.2)
    equal(
        _packed(cell, units, held, weights, rule, quantize)(inputs, sizes, [tuple(state)])[0],
        _marked(given, rule, inputs),
    )
    yield


def _marked(given: tuple[Any, ...], rule: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The fake-quantized layer: its input is marked with codes, too."""
    with torch.no_grad(), computing(Compute("native")):
        return recur(Recurrence(given[0], rule(inputs), *given[2:]))[0]


def _packed(
    cell: Cell, units: int, held: list[Any], weights: Weights, *quantizers: ActivationQuantizer
) -> PackedRecurrentLayer:
    like = RecurrentLayer(cell, 5, units, bidirectional=False, bias=True)
    gates = cell.gates if cell.gates > 1 else 1
    parameters: dict[str, Any] = {"bias": weights.bias}
    if weights.candidate_bias is not None:
        parameters["bias_hn"] = weights.candidate_bias
    for name, own, (values, scale, grid) in zip(
        ("weight_ih", "weight_hh"), (1, gates), held, strict=True
    ):
        bits = (grid.qmax - grid.qmin + 1).bit_length() - 1
        codes = encode(values, scale, grid).to(torch.int8)
        parameters[name] = PackedWeight(codes, scale, grid, bits, gates=own)
    return PackedRecurrentLayer(like, parameters, *quantizers)


# --- in one pass ----------------------------------------------------------------------------------


def roundings() -> Checks:
    """fake_quantize, fake_quantize_back."""
    for bits, rows, columns in product((1, 4, 8), (1, 3), (1, 7, 8, 33, 5000)):
        grid, values = Grid.signed(bits), noise(rows, columns) * 3
        for scale in (torch.tensor(0.3), noise(rows, 1).abs() + 0.1):
            results = []
            for kernel in ("native", "reference"):
                leaves = [values.clone().requires_grad_(), scale.clone().requires_grad_()]
                with computing(Compute(kernel)):
                    result = fake_quantize(*leaves, grid)
                    result.square().sum().backward()
                results.append([result, *(leaf.grad for leaf in leaves)])
            equal(results[0][0], results[1][0])
            equal(results[0][1], results[1][1])
            agree(results[0][2], results[1][2], 1e-3)
            yield
        values[0, 0], values[-1, -1] = torch.nan, torch.inf
        fake_quantize(values, torch.tensor(0.3), grid)


def losses() -> Checks:
    """cross_entropy."""
    for rows, classes in product((1, 2, 9), (1, 2, 7, 8, 16, 33, 1000)):
        targets = torch.randint(classes, (rows,), generator=generator)
        targets[1::3] = -100
        values = noise(rows, classes) * 4
        one, other = (values.clone().requires_grad_() for _ in range(2))
        ours, theirs = cross_entropy(one * 1, targets), F.cross_entropy(other, targets)
        agree(ours.detach(), theirs.detach())
        ours.backward()
        theirs.backward()
        agree(one.grad, other.grad)
        agree(cross_entropy(values.clone(), targets), theirs.detach())
        yield
    for target in (-1, 7):
        with pytest.raises(IndexError, match=f"got {target}"):
            cross_entropy(noise(2, 7), torch.tensor([0, target]))
        yield


def overrun() -> None:
    """What a sanitizer must notice: a kernel writes past the end of a tensor."""
    values, sums = torch.zeros(9, 4), torch.empty(9, dtype=torch.int32)
    codes = torch.empty(8 * 32, dtype=torch.uint8)  # a row too few
    native.function("encode")(
        native.pointer(values, torch.float32, 9 * 4),
        ctypes.c_int64(9),
        4,
        ctypes.c_float(1.0),
        0,
        255,
        native.pointer(codes, torch.uint8, 8 * 32),
        ctypes.c_int64(32),
        native.pointer(sums, torch.int32, 9),
    )


def called() -> list[str]:
    """The kernels that were looked up: a library keeps each one as an attribute."""
    ending = f"_{native.instruction_set()}"
    names = vars(library._library())
    return sorted(name.removesuffix(ending) for name in names if name.endswith(ending))


GROUPS = (packing, encoding, linears, recurrences, roundings, losses)


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:] == ["overrun"]:
        overrun()
    checks = {group.__name__: sum(1 for _ in group()) for group in GROUPS}
    assert all(checks.values())
    print(json.dumps({"set": native.instruction_set(), "kernels": called(), "checks": checks}))


if __name__ == "__main__":
    main()
