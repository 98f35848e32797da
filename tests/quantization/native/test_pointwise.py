"""Fake quantization in one pass against torch's operations: equal to the bit."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoquant.backend import Compute, computing
from autoquant.quantization.codes import Grid, QuantParams, quant_params_of
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.quantization.native import pointwise
from tests.quantization.native.machine import (
    EVERY_SET,
    NEEDS_KERNELS,
    running_on,
    same_bits,
    threads,
)

pytestmark = NEEDS_KERNELS

BITS = range(1, 9)
GRIDS = {
    **{f"midrise{bits}": Grid.signed(bits, "midrise") for bits in BITS},
    **{f"midtread{bits}": Grid.signed(bits, "midtread") for bits in BITS[1:]},
    "three levels": Grid.signed(1.6),
    **{f"unsigned{bits}": Grid.unsigned(bits) for bits in BITS[1:]},
}
SHAPES = [(1,), (7,), (8,), (33,), (1, 1), (5, 1), (1, 5), (9, 17), (3, 4, 5), (2, 3, 4, 9)]
LAYOUTS = ["scalar", "tensor", "rows"]
NATIVE, TORCH = Compute(), Compute(kernel="torch")


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """Grows at each pass of a kernel."""
    calls: list[str] = []
    for kernel in (pointwise.fake_quantize, pointwise.fake_quantize_back):

        def watched(*given, kernel=kernel, **options):
            calls.append(kernel.__name__)
            return kernel(*given, **options)

        monkeypatch.setattr(pointwise, kernel.__name__, watched)
    return calls


BOTH_WAYS = ["fake_quantize", "fake_quantize_back"]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scale_of(values: Tensor, layout: str) -> Tensor:
    """One number, one with the values' axes, or one for each row."""
    if layout == "scalar":
        return torch.tensor(0.37)
    if layout == "tensor":
        return torch.full([1] * values.ndim, 0.37)
    rows = torch.rand(values.shape[0], generator=torch.Generator().manual_seed(1)) + 0.1
    return rows.view(-1, *[1] * (values.ndim - 1))


def results(
    compute: Compute, values: Tensor, scale: Tensor, grid: Grid, *, masked: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized values and the gradients of values and step size."""
    leaves = values.detach().clone().requires_grad_(), scale.detach().clone().requires_grad_()
    with computing(compute):
        result = fake_quantize(*leaves, grid, masked=masked)
        grads = torch.autograd.grad(result, leaves, randn(*result.shape, seed=2))
    return result.detach(), *grads


def assert_same(values: Tensor, scale: Tensor, grid: Grid, *, masked: bool = True) -> None:
    """Values and their gradients to the bit, the step size's but for the order of a sum."""
    ours = results(NATIVE, values, scale, grid, masked=masked)
    theirs = results(TORCH, values, scale, grid, masked=masked)
    assert same_bits(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert ours[2].shape == theirs[2].shape
    bound = 1e-5 * float(theirs[2].nan_to_num(0, 0, 0).abs().max()) + 1e-6
    torch.testing.assert_close(ours[2], theirs[2], rtol=1e-4, atol=bound, equal_nan=True)


# --- the same as torch ---------------------------------------------------------------------------


@EVERY_SET
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_equals_torch(grid, instructions, passes):
    with running_on(instructions):
        for shape, layout in product(SHAPES, LAYOUTS):
            values = randn(*shape) * 0.5 * grid.max_level
            for masked in (True, False):
                assert_same(values, scale_of(values, layout), grid, masked=masked)
    assert passes == BOTH_WAYS * 2 * len(SHAPES) * len(LAYOUTS)


@settings(max_examples=150)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.sampled_from([*GRIDS]),
    st.sampled_from(LAYOUTS),
    st.floats(-20, 20),
    st.booleans(),
    st.integers(0, 99),
)
def test_equals_torch_at_any_size(shape, grid, layout, exponent, masked, seed):
    values = randn(*shape, seed=seed) * GRIDS[grid].max_level * 2.0**exponent
    scale = scale_of(values, layout) * 2.0**exponent
    ours = results(NATIVE, values, scale, GRIDS[grid], masked=masked)
    theirs = results(TORCH, values, scale, GRIDS[grid], masked=masked)
    assert same_bits(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@EVERY_SET
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_ties_and_zeros_are_rounded_as_torch_rounds_them(grid, instructions):
    quarters = torch.arange(-2.0 * grid.max_level - 2, 2.0 * grid.max_level + 2, 0.25)
    odd = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 0.1, -0.1])
    values = torch.cat([quarters, odd])
    with running_on(instructions):
        for scale in (1.0, 0.25, 0.1, 3.0):
            for each in (values, values * scale):
                assert_same(each, torch.tensor(scale), grid)


@EVERY_SET
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "passed"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38, -3e38], ids=str)
def test_odd_numbers(value, masked, instructions):
    values, grids = randn(4, 21), (Grid.signed(2), Grid.signed(4), Grid.unsigned(3))
    with running_on(instructions):
        for place in ((0, 0), (1, 20), (3, 7)):
            values[place] = value
            for grid, layout in product(grids, ("scalar", "rows")):
                assert_same(values, scale_of(values, layout), grid, masked=masked)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e-12, 1e30, 0.0], ids=str)
def test_odd_step_sizes(value):
    values, scale = randn(4, 21), torch.full((4, 1), 0.3)
    scale[2] = value
    for masked in (True, False):
        assert_same(values, scale, Grid.signed(4), masked=masked)


@pytest.mark.parametrize("shape", [(1_000_003,), (3, 400_001), (1, 2, 500_000)], ids=str)
def test_a_long_sum_of_the_step_sizes_gradient(shape):
    """Equal signs, so that errors add up instead of averaging out."""
    values = torch.full(shape, 0.7)
    scale = torch.tensor(1.0)
    slopes = []
    for compute in (NATIVE, TORCH):
        leaf = scale.clone().requires_grad_()
        with computing(compute):
            fake_quantize(values, leaf, Grid.signed(4)).sum().backward()
        slopes.append(float(leaf.grad))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-5)


# --- shapes and layouts --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("layout", ["scalar", "rows"])
def test_nothing(shape, layout):
    values = torch.zeros(shape)
    scale = scale_of(values, layout)
    for compute in (NATIVE, TORCH):
        with computing(compute):
            result = fake_quantize(values.clone().requires_grad_(), scale, Grid.signed(4))
        assert result.shape == shape
        (grad,) = torch.autograd.grad(result.sum(), scale.requires_grad_(), allow_unused=True)
        assert grad is None or grad.shape == scale.shape
        scale = scale.detach()


@pytest.mark.parametrize("value", [0.3, -9.0, math.nan], ids=str)
def test_a_single_number_without_axes(value):
    for scale in (torch.tensor(0.1), torch.tensor([0.1])):
        assert_same(torch.tensor(value), scale, Grid.signed(4))


def test_one_row_with_a_step_size_of_its_own():
    assert_same(randn(1, 9), torch.tensor([[0.3]]), Grid.signed(4))
    assert_same(randn(1), torch.tensor([0.3]), Grid.signed(4))
    assert_same(randn(9), torch.rand(9) + 0.1, Grid.signed(4))


def test_a_step_size_with_more_axes_gives_the_result_as_many():
    assert_same(randn(9), torch.tensor([[0.3]]), Grid.signed(4))


@pytest.mark.parametrize("shape", [(1, 9), (9,)], ids=str)
def test_a_step_size_for_each_column_is_torchs(shape, passes):
    assert_same(randn(4, 9), torch.rand(shape) + 0.1, Grid.signed(4))
    assert passes == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_with_gaps_in_memory(layout, passes):
    for values in (
        randn(9, 5).t(),
        randn(10, 9)[::2],
        randn(5, 18)[:, ::2],
        randn(1, 9).expand(5, 9),
    ):
        leaf = values.detach().requires_grad_()
        assert not leaf.is_contiguous()
        scale, grads = scale_of(values, layout), []
        for compute in (NATIVE, TORCH):
            with computing(compute):
                result = fake_quantize(leaf, scale, Grid.signed(4))
            grads.append(torch.autograd.grad(result, leaf, randn(*values.shape, seed=3))[0])
        assert torch.equal(*grads)
    assert passes == []


@pytest.mark.parametrize("layout", ["scalar", "rows"])
def test_step_sizes_with_gaps_in_memory(layout):
    values = randn(5, 9)
    scale = scale_of(values, layout)
    gaps = torch.stack([scale, scale + 1], -1)[..., 0]
    whole = results(NATIVE, values, scale, Grid.signed(4))
    for compute in (NATIVE, TORCH):
        with computing(compute):
            assert same_bits(fake_quantize(values, gaps, Grid.signed(4)), whole[0])


@pytest.mark.parametrize("layout", ["scalar", "rows"])
def test_gradients_with_gaps_in_memory(layout, passes):
    values, upstream = randn(5, 9), randn(9, 5, seed=2).t()
    leaves = values.requires_grad_(), scale_of(values, layout).requires_grad_()
    result = fake_quantize(*leaves, Grid.signed(4))
    gaps = torch.autograd.grad(result, leaves, upstream, retain_graph=True)
    whole = torch.autograd.grad(result, leaves, upstream.contiguous(), retain_graph=True)
    assert all(same_bits(*pair) for pair in zip(gaps, whole, strict=True))
    spread = torch.autograd.grad(result.sum(), leaves, retain_graph=True)
    ones = torch.autograd.grad(result, leaves, torch.ones(5, 9))
    assert all(same_bits(*pair) for pair in zip(spread, ones, strict=True))
    assert passes == ["fake_quantize", *["fake_quantize_back"] * 4]


# --- gradients, marks, other kernels -------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["values", "scale", "neither"])
def test_a_gradient_that_nobody_wants_is_left_out(wanted):
    values, scale = randn(5, 9), torch.tensor(0.3)
    leaf = {"values": values, "scale": scale}.get(wanted)
    if leaf is None:
        assert not fake_quantize(values, scale, Grid.signed(4)).requires_grad
        return
    leaf.requires_grad_()
    (grad,) = torch.autograd.grad(fake_quantize(values, scale, Grid.signed(4)).sum(), leaf)
    assert grad.shape == leaf.shape
    assert grad.any()


def test_the_result_is_marked_with_its_codes():
    scale, grid = torch.tensor(0.3, requires_grad=True), Grid.signed(4)
    found = quant_params_of(fake_quantize(randn(5, 9), scale, grid))
    assert isinstance(found, QuantParams)
    assert found.grid == grid
    assert torch.equal(found.scale, scale)
    assert not found.scale.requires_grad


def test_values_are_left_alone():
    values, scale = randn(5, 9), torch.tensor(0.3)
    kept = values.clone()
    result = fake_quantize(values, scale, Grid.signed(4))
    assert torch.equal(values, kept)
    assert result.data_ptr() != values.data_ptr()


def test_without_clipping_it_is_torchs(passes):
    values = randn(5, 9) * 9
    result = fake_quantize(values, torch.tensor(0.3), Grid.signed(2), clip=False)
    assert result.abs().max() > 3
    assert passes == []


@pytest.mark.parametrize("kernel", ["torch", "reference"])
def test_other_kernels_are_torchs(kernel, passes):
    results(Compute(kernel=kernel), randn(5, 9), torch.tensor(0.3), Grid.signed(4))
    assert passes == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_types_are_torchs(dtype, passes):
    values, scale = randn(5, 9).to(dtype), torch.tensor(0.25, dtype=dtype)
    result = fake_quantize(values.requires_grad_(), scale.requires_grad_(), Grid.signed(4))
    result.sum().backward()
    assert result.dtype == values.grad.dtype == dtype
    assert passes == []


@pytest.mark.parametrize("layout", ["scalar", "rows"])
def test_two_threads_change_no_bit(layout, monkeypatch):
    monkeypatch.setattr(pointwise, "WORTH_A_THREAD", 1)
    values = randn(31, 70)
    one = results(NATIVE, values, scale_of(values, layout), Grid.signed(4))
    with threads(2):
        two = results(NATIVE, values, scale_of(values, layout), Grid.signed(4))
    assert all(same_bits(*pair) for pair in zip(one, two, strict=True))


def test_the_default_type_of_torch_does_not_matter():
    values, scale = randn(5, 9), torch.full((5, 1), 0.3)
    one = results(NATIVE, values, scale, Grid.signed(4))
    leaves = values.clone().requires_grad_(), scale.clone().requires_grad_()
    torch.set_default_dtype(torch.float64)
    try:
        result = fake_quantize(*leaves, Grid.signed(4))
        two = result, *torch.autograd.grad(result, leaves, randn(5, 9, seed=2).float())
    finally:
        torch.set_default_dtype(torch.float32)
    assert [each.dtype for each in two] == [torch.float32] * 3
    assert result.detach().equal(one[0])
