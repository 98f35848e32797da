"""The integer linear layer: exact sums against whole numbers, gradients against autograd."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from autoquant.backend import Compute, computing
from autoquant.kernels import integer_linear
from autoquant.kernels.integer_linear import MAX_COLUMNS, linear
from autoquant.quantization import native
from autoquant.quantization.codes import (
    Grid,
    QuantParams,
    attach_quant_params,
    decode,
    quant_params_of,
)
from autoquant.quantization.fake_quantize import fake_quantize
from tests.quantization.native.machine import (
    EVERY_SET,
    NEEDS_KERNELS,
    bfloat16_everywhere,
    running_on,
    same_bits,
    threads,
)

pytestmark = NEEDS_KERNELS

ONE = torch.tensor(1.0)
SHAPES = [(1, 1, 1), (1, 33, 31), (3, 7, 65), (25, 100, 33), (2, 31, 130)]  # rows, K, N
WORST = {  # codes of inputs, of weights, and the input's grid
    "255 x -128": (255, -128, Grid.unsigned(8)),
    "255 x 127": (255, 127, Grid.unsigned(8)),
    "-128 x -128": (-128, -128, Grid.signed(8)),
    "-128 x 127": (-128, 127, Grid.signed(8)),
    "127 x -128": (127, -128, Grid.signed(8)),
}


def codes(grid: Grid, *shape: int, seed: int = 0) -> Tensor:
    """Random codes of a grid, its ends among them where there is room."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(grid.qmin, grid.qmax + 1, shape, generator=generator).float()
    flat = made.view(-1)
    flat[0], flat[-1] = grid.qmin, grid.qmax
    return made


def coded(whole: Tensor, grid: Grid, scale: Tensor = ONE) -> Tensor:
    """The values that codes stand for, marked."""
    return attach_quant_params(decode(whole, scale, grid), QuantParams(scale, grid))


def whole_sums(inputs: Tensor, weight: Tensor, offset: float) -> np.ndarray:
    """Sums of products of codes, in 64-bit whole numbers; twice that with a midrise grid."""
    factor = 2 if offset else 1
    left = inputs.numpy().astype(np.int64)
    right = (weight.numpy() * factor + factor * offset).astype(np.int64)
    return left @ right.T


def assert_exact(
    rows: int, depth: int, width: int, first: Grid, second: Grid, kernel: str = "native"
) -> None:
    x, w = codes(first, rows, depth), codes(second, width, depth, seed=1)
    with computing(Compute(kernel=kernel)):
        ours = linear(coded(x, first), coded(w, second), None)
    expected = whole_sums(x, w, second.offset) / (2 if second.offset else 1)
    largest = np.abs(expected).max()
    if largest < 1 << 23:  # every half is a float32
        assert np.array_equal(ours.numpy().astype(np.float64), expected)
    else:
        assert np.abs(ours.numpy() - expected).max() <= largest * 2**-23


@pytest.fixture
def integers(monkeypatch) -> list[int]:
    """Grows by the result's rows at each integer product that succeeds."""
    calls: list[int] = []
    multiply = integer_linear.integer_product

    def watched(*given):
        out = multiply(*given)
        calls.extend([] if out is None else [len(out)])
        return out

    monkeypatch.setattr("autoquant.kernels.integer_linear.integer_product", watched)
    return calls


# --- exact sums ----------------------------------------------------------------------------------


@EVERY_SET
@pytest.mark.parametrize("second", range(2, 9), ids="inputs{}".format)
@pytest.mark.parametrize("first", [1, 1.6, *range(2, 9)], ids="weights{}".format)
def test_sums_are_exact(first, second, instructions, integers):
    with running_on(instructions):
        for rows, depth, width in SHAPES:
            for inputs in (Grid.unsigned(second), Grid.signed(second, "midtread")):
                assert_exact(rows, depth, width, inputs, Grid.signed(first))
                assert_exact(rows, depth, width, inputs, Grid.signed(first, "midtread"))
    assert len(integers) == 4 * len(SHAPES)


@settings(max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 200),
    st.integers(1, 150),
    st.integers(1, 8) | st.just(1.6),
    st.integers(2, 8),
    st.booleans(),
)
def test_sums_are_exact_in_any_shape(rows, depth, width, first, second, signed):
    inputs = Grid.signed(second, "midtread") if signed else Grid.unsigned(second)
    assert_exact(rows, depth, width, inputs, Grid.signed(first))


@EVERY_SET
@pytest.mark.parametrize(("rows", "depth", "width"), [(1, 5000, 70), (256, 300, 40)])
def test_sums_are_exact_in_large_shapes(rows, depth, width, instructions):
    with running_on(instructions):
        for inputs in (Grid.unsigned(8), Grid.signed(8), Grid.signed(4, "midtread")):
            assert_exact(rows, depth, width, inputs, Grid.signed(8))
            assert_exact(rows, depth, width, inputs, Grid.signed(3))


@EVERY_SET
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 31, 32, 33, 300, 5001])
@pytest.mark.parametrize(("x", "w", "grid"), WORST.values(), ids=WORST)
def test_the_largest_codes_do_not_saturate(x, w, grid, depth, instructions):
    inputs = torch.full((7, depth), float(x))
    weight = torch.full((33, depth), float(w))
    with running_on(instructions):
        ours = linear(coded(inputs, grid), coded(weight, Grid.signed(8)), None)
    assert torch.equal(ours, torch.full((7, 33), float(np.float32(x * w * depth))))


@EVERY_SET
@pytest.mark.parametrize("second", range(2, 9), ids="inputs{}".format)
def test_the_largest_codes_of_any_bits_do_not_saturate(second, instructions):
    """16-bit sums of a few products are what could overflow: the more bits, the fewer."""
    depth, grids = 301, (Grid.unsigned(second), Grid.signed(second, "midtread"))
    weights = [Grid.signed(first, "midtread") for first in range(1, 9)]
    with running_on(instructions):
        for grid, weight in product(grids, weights):
            for x, w in product((grid.qmin, grid.qmax), (weight.qmin, weight.qmax)):
                left, right = torch.full((3, depth), float(x)), torch.full((9, depth), float(w))
                ours = linear(coded(left, grid), coded(right, weight), None)
                assert torch.equal(ours, torch.full((3, 9), depth * x * (w + weight.offset)))


@EVERY_SET
@pytest.mark.parametrize("bits", [1, 1.6, *range(2, 9)])
def test_a_weight_in_bit_planes_gives_the_same(bits, instructions):
    """As a packed file holds it: below 8 bits it is taken apart on the way."""
    second, first = Grid.signed(bits), Grid.signed(8)
    with running_on(instructions):
        for rows, depth, width in SHAPES:
            x, w = codes(first, rows, depth), codes(second, width, depth, seed=1)
            expected = linear(coded(x, first), coded(w, second), None)
            matrix = native.pack_codes(w.to(torch.int8), second, math.ceil(bits))
            ours = integer_linear.integer_product(
                x, matrix, QuantParams(ONE, first), torch.ones(1), None
            )
            assert same_bits(ours, expected)


@EVERY_SET
@pytest.mark.parametrize("bits", range(1, 8))
def test_the_largest_codes_in_bit_planes_do_not_saturate(bits, instructions):
    grid, depth, one = Grid.signed(bits, "midtread"), 301, torch.ones(1)
    with running_on(instructions):
        for inputs, w in product((Grid.unsigned(8), Grid.signed(8)), (grid.qmin, grid.qmax)):
            weight = torch.full((9, depth), w, dtype=torch.int8)
            matrix = native.pack_codes(weight, grid, bits)
            for x, rows in product((inputs.qmin, inputs.qmax), (1, 2, 3, 7)):
                left = torch.full((rows, depth), float(x))
                ours = integer_linear.integer_product(
                    left, matrix, QuantParams(ONE, inputs), one, None
                )
                whole = depth * x * (w + grid.offset)
                assert torch.equal(ours, torch.full((rows, 9), float(whole)))


@EVERY_SET
@pytest.mark.parametrize(("x", "w", "grid"), WORST.values(), ids=WORST)
def test_sums_of_the_deepest_layer_fit(x, w, grid, instructions, integers):
    """255 * 128 * 65535 is below 2^31, and so is everything on the way there."""
    depth = MAX_COLUMNS - 1
    inputs, weight = torch.full((1, depth), float(x)), torch.full((2, depth), float(w))
    with running_on(instructions):
        ours = linear(coded(inputs, grid), coded(weight, Grid.signed(8)), None)
    assert ours.tolist() == [[float(np.float32(x * w * depth))] * 2]
    assert integers == [1]


def test_a_deeper_layer_is_left_to_torch(integers):
    inputs, weight = torch.full((1, MAX_COLUMNS), 255.0), torch.full((1, MAX_COLUMNS), -128.0)
    ours = linear(coded(inputs, Grid.unsigned(8)), coded(weight, Grid.signed(8)), None)
    assert float(ours) == pytest.approx(-128 * 255 * MAX_COLUMNS, rel=1e-5)
    assert integers == []


# --- scales, biases, shapes ----------------------------------------------------------------------


def quantized(
    rows: int = 5, depth: int = 37, width: int = 13, *, bits: int = 4, channels: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weight and bias; leaves of these names behind them do not matter."""
    generator = torch.Generator().manual_seed(0)
    x, w = (
        torch.randn(rows, depth, generator=generator),
        torch.randn(width, depth, generator=generator),
    )
    grid = Grid.signed(bits)
    scale = (
        w.abs().amax(1, keepdim=True) if channels else w.abs().amax().view(1, 1)
    ) / grid.max_level
    weight = fake_quantize(w, scale, grid)
    inputs = fake_quantize(x, torch.tensor(0.02), Grid.signed(8))
    return inputs, weight, torch.randn(width, generator=generator)


def exactly(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(inputs.double(), weight.double(), None if bias is None else bias.double())


def assert_near(ours: Tensor, expected: Tensor, share: float = 5e-7) -> None:
    assert ours.shape == expected.shape
    assert ours.dtype == torch.float32
    assert float((ours - expected).abs().max()) <= share * float(expected.abs().max())


@pytest.mark.parametrize("channels", [True, False], ids=["a-scale-a-row", "one-scale"])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_scales_and_bias(bits, biased, channels, integers):
    inputs, weight, bias = quantized(bits=bits, channels=channels)
    bias = bias if biased else None
    assert_near(linear(inputs, weight, bias), exactly(inputs, weight, bias))
    assert integers == [5]


@pytest.mark.parametrize("shape", [(37,), (1, 37), (2, 3, 37), (2, 1, 3, 37)], ids=str)
def test_inputs_of_any_number_of_axes(shape, integers):
    _, weight, bias = quantized()
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(shape, generator=generator)
    inputs = fake_quantize(values, torch.tensor(0.02), Grid.signed(8))
    assert_near(linear(inputs, weight, bias), exactly(inputs, weight, bias))
    assert integers == [math.prod(shape[:-1])]


def test_tensors_with_gaps_in_memory(integers):
    x, w, bias = quantized()
    inputs = attach_quant_params(x.t().contiguous().t(), quant_params_of(x))
    weight = attach_quant_params(w.t().contiguous().t(), quant_params_of(w))
    gaps = torch.stack([bias, bias], 1)[:, 0]
    assert not any(each.is_contiguous() for each in (inputs, weight, gaps))
    assert same_bits(linear(inputs, weight, gaps), linear(x, w, bias))
    assert integers == [5, 5]


@pytest.mark.parametrize("shape", [(0, 37), (2, 0, 37)], ids=str)
def test_no_rows(shape):
    _, weight, bias = quantized()
    inputs = fake_quantize(torch.zeros(shape), torch.tensor(0.02), Grid.signed(8))
    assert linear(inputs, weight, bias).shape == (*shape[:-1], 13)


def test_two_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr("autoquant.kernels.integer_linear.WORTH_A_THREAD", 1)
    for rows in (1, 2, 9, 50):  # of which a few are shared out by units, many by rows
        inputs, weight, bias = quantized(rows, 64, 150)
        one = linear(inputs, weight, bias)
        with threads(2):
            assert same_bits(linear(inputs, weight, bias), one)


@pytest.mark.parametrize(
    ("inputs", "weight", "bias"),
    [
        pytest.param((2, 5), (3, 7), (3,), id="columns"),
        pytest.param((2, 7), (3, 5), (3,), id="fewer-columns"),
        pytest.param((2, 5), (3, 5), (4,), id="bias"),
    ],
)
def test_shapes_that_do_not_fit_are_torchs_error(inputs, weight, bias):
    x = fake_quantize(torch.zeros(inputs), ONE, Grid.signed(8))
    w = fake_quantize(torch.zeros(weight), ONE, Grid.signed(8))
    with pytest.raises(RuntimeError, match=r"shapes|size"):
        linear(x, w, torch.zeros(bias))


def test_a_bias_of_one_number_is_for_all_rows():
    inputs, weight, bias = quantized()
    assert_near(linear(inputs, weight, bias[:1]), exactly(inputs, weight, bias[:1]))


def test_the_default_type_of_torch_does_not_matter():
    inputs, weight, bias = quantized()
    expected = linear(inputs, weight, bias)
    torch.set_default_dtype(torch.float64)
    try:
        ours = linear(inputs, weight, bias)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_bits(ours, expected)


# --- gradients -----------------------------------------------------------------------------------


def gradients(kernel: str, precision: str = "float32", *, biased: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((2, 9, 37), (23, 37), (23,))
    ]
    with computing(Compute(kernel, precision)):
        inputs = fake_quantize(leaves[0], torch.tensor(0.02), Grid.signed(8))
        weight = fake_quantize(leaves[1], torch.tensor(0.3), Grid.signed(4))
        result = linear(inputs, weight, leaves[2] if biased else None)
        upstream = torch.randn(result.shape, generator=generator)
        return [*torch.autograd.grad(result, leaves if biased else leaves[:2], upstream)]


@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
def test_gradients_are_those_of_the_float_product(biased, integers):
    ours, theirs = gradients("native", biased=biased), gradients("torch", biased=biased)
    assert integers == [18]
    for mine, expected in zip(ours, theirs, strict=True):
        assert_near(mine, expected, 2e-6)


def test_gradients_of_bfloat16_products_are_near():
    """Measured: 2.3e-3 and 2.9e-3 of the norm; the bias has no product."""
    with bfloat16_everywhere():
        ours = gradients("native", "bfloat16")
    for mine, expected in zip(ours[:2], gradients("torch"), strict=False):
        error = float((mine - expected).norm() / expected.norm())
        assert 1e-4 < error < 5e-3
    assert_near(ours[2], gradients("torch")[2], 2e-6)


@pytest.mark.parametrize("wanted", range(3), ids=["inputs", "weight", "bias"])
def test_a_gradient_that_nobody_wants_is_not_computed(wanted, monkeypatch):
    products: list[Tensor] = []
    multiply = integer_linear.product
    monkeypatch.setattr(
        "autoquant.kernels.integer_linear.product",
        lambda *two: products.append(two) or multiply(*two),
    )
    leaves = [each.detach().clone() for each in quantized()]
    marks = [*map(quant_params_of, quantized())]
    leaf = leaves[wanted].requires_grad_()
    inputs, weight = (attach_quant_params(leaves[i], marks[i]) for i in (0, 1))
    (grad,) = torch.autograd.grad(linear(inputs, weight, leaves[2]).sum(), leaf)
    assert grad.shape == leaf.shape
    assert len(products) == (wanted < 2)


def test_nothing_is_kept_without_gradients(integers):
    with torch.no_grad():
        result = linear(*quantized())
    assert (result.requires_grad, result.grad_fn, integers) == (False, None, [5])


# --- when the product is one of integers ---------------------------------------------------------


def test_only_what_is_marked_is_an_integer(integers):
    inputs, weight, bias = quantized()
    expected = F.linear(inputs, weight, bias)
    for pair in ((inputs.clone(), weight), (inputs, weight.clone())):
        assert torch.equal(linear(*pair, bias), expected)
    assert integers == []


@pytest.mark.parametrize("kernel", ["torch", "reference"])
def test_other_kernels_work_on_floats(kernel, integers):
    given = quantized()
    with computing(Compute(kernel=kernel)):
        assert torch.equal(linear(*given), F.linear(*given))
    assert integers == []


def test_inputs_without_a_level_at_zero_are_floats(integers):
    _, weight, bias = quantized()
    inputs = fake_quantize(torch.randn(5, 37), torch.tensor(0.3), Grid.signed(3))
    assert torch.equal(linear(inputs, weight, bias), F.linear(inputs, weight, bias))
    assert integers == []


@pytest.mark.parametrize("of", ["inputs", "weight"])
def test_a_step_size_for_each_column_is_for_floats(of, integers):
    inputs, weight, bias = quantized(width=37)
    scale, grid = torch.rand(1, 37) + 0.1, Grid.signed(4)
    if of == "inputs":
        inputs = fake_quantize(inputs, scale, grid)
    else:
        weight = fake_quantize(weight, scale, grid)
    assert torch.equal(linear(inputs, weight, bias), F.linear(inputs, weight, bias))
    assert integers == []


def test_double_precision_stays_double(integers):
    inputs, weight, bias = (each.double() for each in quantized())
    scale = torch.tensor(0.1, dtype=torch.float64)
    marked = [fake_quantize(each, scale, Grid.signed(8)) for each in (inputs, weight)]
    assert torch.equal(linear(*marked, bias), F.linear(*marked, bias))
    assert integers == []


def test_without_the_library_it_is_torchs(monkeypatch, integers):
    given = quantized()
    monkeypatch.setattr(native, "available", lambda: False)
    assert torch.equal(linear(*given), F.linear(*given))
    assert integers == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("place", ["inputs", "weight", "bias"])
def test_what_is_not_finite_spreads_as_in_torch(place, value):
    """An Inf is clipped where it is quantized, and is none any more."""
    x, w, bias = torch.randn(5, 37), torch.randn(13, 37), torch.randn(13)
    {"inputs": x, "weight": w, "bias": bias}[place].view(-1)[7] = value
    inputs = fake_quantize(x, torch.tensor(0.02), Grid.signed(8))
    weight = fake_quantize(w, torch.tensor(0.3), Grid.signed(4))
    expected = F.linear(inputs, weight, bias)
    ours = linear(inputs, weight, bias)
    assert torch.equal(ours.isnan(), expected.isnan())
    assert ours.isfinite().all() == (place != "bias" and math.isinf(value))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
