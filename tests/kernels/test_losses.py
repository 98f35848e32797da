"""Cross-entropy in one pass against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from autoquant.backend import Compute, computing
from autoquant.kernels import cross_entropy
from autoquant.quantization.native import pointwise
from tests.quantization.native.machine import (
    EVERY_SET,
    NEEDS_KERNELS,
    running_on,
    same_bits,
    threads,
)

pytestmark = NEEDS_KERNELS

SHAPES = [(1, 1), (1, 7), (3, 5), (17, 33), (5, 1000), (64, 15)]


@pytest.fixture
def passes(monkeypatch) -> list[bool]:
    """Grows at each pass of the kernel: whether it was asked for a gradient."""
    calls: list[bool] = []
    kernel = pointwise.cross_entropy

    def watched(*given, weight):
        calls.append(weight is not None)
        return kernel(*given, weight=weight)

    monkeypatch.setattr(pointwise, "cross_entropy", watched)
    return calls


def given_(rows: int, classes: int, *, spread: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * spread
    return logits, torch.randint(classes, (rows,), generator=generator)


def both(
    logits: Tensor, targets: Tensor, ignored: int = -100, factor: float = 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """Loss and gradient, ours and torch's."""
    results = []
    for loss_of in (cross_entropy, F.cross_entropy):
        leaf = logits.clone().requires_grad_()
        loss = loss_of(leaf * 1.0, targets, ignore_index=ignored)
        (grad,) = torch.autograd.grad(loss * factor, leaf)
        results.append([loss.detach(), grad])
    return results[0], results[1]


def assert_equal(
    logits: Tensor, targets: Tensor, ignored: int = -100, factor: float = 1.0
) -> list[Tensor]:
    """Within the last bits; returns ours."""
    (loss, grad), (expected, its) = both(logits, targets, ignored, factor)
    torch.testing.assert_close(loss, expected, rtol=2e-6, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(grad, its, rtol=2e-5, atol=1e-7, equal_nan=True)
    return [loss, grad]


@EVERY_SET
@pytest.mark.parametrize(("rows", "classes"), SHAPES, ids=str)
def test_equals_torch(rows, classes, instructions, passes):
    with running_on(instructions):
        assert_equal(*given_(rows, classes))
    assert passes == [True]


@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.sampled_from([0.0, 1e-3, 1.0, 20.0, 200.0]),
    st.integers(0, 99),
)
def test_equals_torch_in_any_shape(rows, classes, spread, seed):
    assert_equal(*given_(rows, classes, spread=spread, seed=seed))


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.5, 1e-20, 1e20])
def test_the_gradient_of_a_multiple(factor):
    logits, targets = given_(6, 11)
    (_, grad), (_, expected) = both(logits, targets, factor=factor)
    scale = float(expected.abs().max())
    torch.testing.assert_close(grad, expected, rtol=2e-5, atol=1e-7 * scale)


def test_a_loss_that_is_used_twice():
    logits, targets = given_(6, 11)
    leaf = logits.clone().requires_grad_()
    loss = cross_entropy(leaf * 1.0, targets)
    (loss * 2 + loss).backward()
    (expected,) = both(logits, targets, factor=3.0)[1][1:]
    torch.testing.assert_close(leaf.grad, expected, rtol=2e-5, atol=1e-7)


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [-100, -1, 0, 4, 999])
def test_ignored_targets_do_not_count(ignored):
    logits, targets = given_(12, 5)
    targets[::3] = ignored
    _, grad = assert_equal(logits, targets, ignored)
    assert not grad[targets == ignored].any()
    assert grad[targets != ignored].any()


def test_where_all_are_ignored_the_mean_of_nothing_is_nan():
    logits, _ = given_(4, 5)
    loss, grad = assert_equal(logits, torch.full((4,), -100))
    assert loss.isnan()
    assert not grad.any()


@pytest.mark.parametrize("odd", [5, 7, -1, -101, 1 << 40, -(1 << 62)])
@pytest.mark.parametrize("recorded", [True, False], ids=["training", "no-grad"])
def test_a_target_that_is_no_class(odd, recorded):
    logits, targets = given_(9, 5)
    targets[6], targets[2] = odd, -100
    with torch.set_grad_enabled(recorded), pytest.raises(IndexError, match=rf"\[0, 5\), got {odd}"):
        cross_entropy(logits.requires_grad_(recorded), targets)


def test_targets_of_another_layout(passes):
    logits, targets = given_(6, 5)
    spread = torch.stack([targets, targets + 1], 1)[:, 0]
    assert not spread.is_contiguous()
    torch.testing.assert_close(
        cross_entropy(logits.clone(), spread), F.cross_entropy(logits, targets)
    )
    assert passes == []


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (2, 8)], ids=str)
def test_logits_that_are_not_finite(value, place):
    """Also where the first number, or that of the target, is the odd one."""
    logits, targets = given_(4, 9)
    logits[place] = value
    for target in (0, 3, 8):
        targets[place[0]] = target
        _, grad = assert_equal(logits, targets)
        rest = torch.arange(4) != place[0]
        assert grad[rest].isfinite().all()  # other rows are not touched


def test_a_row_that_is_minus_infinity():
    logits, targets = given_(4, 9)
    logits[1] = -math.inf
    loss, _ = assert_equal(logits, targets)
    assert loss.isnan()


@pytest.mark.parametrize("size", [1e4, -1e4, 1e30, 5e37])
def test_huge_logits(size):
    logits, targets = given_(6, 11, spread=1.0)
    shifted = logits + size
    loss, _ = assert_equal(shifted, targets)
    assert loss.isfinite()
    one = logits.clone()
    one[:, 4] = size
    assert_equal(one, targets)


def test_many_classes_add_up():
    logits, targets = given_(4, 50_000)
    assert_equal(logits, targets)
    assert_equal(torch.zeros(4, 50_000), targets)


# --- what becomes of the logits ------------------------------------------------------------------


def test_without_gradients_the_logits_stay_as_they_are(passes):
    logits, targets = given_(6, 11)
    kept, leaf = logits.clone(), logits.clone().requires_grad_()
    with torch.no_grad():
        under = cross_entropy(leaf, targets)
    plain = cross_entropy(logits, targets)
    assert torch.equal(leaf, kept)
    assert torch.equal(logits, kept)
    assert torch.equal(under, plain)
    assert not plain.requires_grad
    assert passes == [False, False]


def test_no_second_matrix_is_made():
    logits, targets = given_(6, 11)
    leaf = logits.requires_grad_()
    product = leaf * 1.0
    (grad,) = torch.autograd.grad(cross_entropy(product, targets), product)
    assert grad.data_ptr() == product.data_ptr()


def test_the_gradient_can_be_taken_once():
    logits, targets = given_(6, 11)
    loss = cross_entropy(logits.requires_grad_() * 1.0, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be taken once"):
        loss.backward()


def test_no_gradient_of_a_gradient():
    logits, targets = given_(6, 11)
    leaf = logits.requires_grad_()
    loss = cross_entropy(leaf * 1.0, targets).square()
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("make", [torch.tanh, torch.exp, torch.sigmoid], ids=lambda f: f.__name__)
def test_logits_that_somebody_kept_for_a_gradient(make):
    """Their numbers are gone: that must not go unnoticed."""
    values, targets = given_(6, 11)
    leaf = values.requires_grad_()
    loss = cross_entropy(make(leaf), targets)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_logits_that_another_loss_uses_too():
    values, targets = given_(6, 11)
    logits = values.requires_grad_() * 1.0
    other = logits.square().sum()
    loss = cross_entropy(logits, targets)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss + other).backward()


@pytest.mark.parametrize("change", ["view", "linear"])
def test_logits_as_models_make_them(change):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 4, generator=generator).requires_grad_()
    weight = torch.randn(12, 4, generator=generator).requires_grad_()
    targets, grads = torch.arange(6), []
    for loss_of in (cross_entropy, F.cross_entropy):
        logits = F.linear(inputs, weight)
        logits = logits.view(2, 3, 12).flatten(0, 1) if change == "view" else logits
        grads.append(torch.autograd.grad(loss_of(logits, targets), (inputs, weight)))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-6)


# --- when it is torch's --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_types_are_torchs(dtype, passes):
    logits, targets = given_(6, 11)
    logits = logits.to(dtype)
    ours, theirs = both(logits, targets)
    assert ours[0].dtype == dtype
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert passes == []


@pytest.mark.parametrize("kernel", ["torch", "reference"])
def test_other_kernels_are_torchs(kernel, passes):
    with computing(Compute(kernel=kernel)):
        ours, theirs = both(*given_(6, 11))
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert passes == []


def test_logits_with_gaps_in_memory_are_torchs(passes):
    logits, targets = given_(6, 11)
    gaps = logits.t().contiguous().t()
    assert torch.equal(cross_entropy(gaps, targets), F.cross_entropy(gaps, targets))
    assert passes == []


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        pytest.param((0, 5), (0,), id="no-rows"),
        pytest.param((5,), (), id="one-row-without-an-axis"),
        pytest.param((2, 5, 3), (2, 3), id="positions"),
    ],
)
def test_other_shapes_are_torchs(logits, targets, passes):
    values = torch.randn(logits)
    wanted = torch.zeros(targets, dtype=torch.int64)
    expected = F.cross_entropy(values, wanted)
    torch.testing.assert_close(cross_entropy(values, wanted), expected, equal_nan=True)
    assert passes == []


@pytest.mark.parametrize("count", [5, 7])
def test_a_target_too_many_or_too_few_is_an_error(count):
    logits, _ = given_(6, 11)
    with pytest.raises(ValueError, match="batch_size"):
        cross_entropy(logits, torch.zeros(count, dtype=torch.int64))


def test_probabilities_as_targets_are_torchs(passes):
    logits, _ = given_(6, 11)
    shares = torch.softmax(torch.randn(6, 11), 1)
    assert torch.equal(cross_entropy(logits, shares), F.cross_entropy(logits, shares))
    assert passes == []


def test_two_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(pointwise, "WORTH_A_THREAD", 1)
    logits, targets = given_(31, 70)
    one = both(logits, targets)[0]
    with threads(2):
        two = both(logits, targets)[0]
    assert same_bits(one[1], two[1])
    torch.testing.assert_close(one[0], two[0], rtol=2e-7, atol=0)  # a sum in two parts


def test_the_default_type_of_torch_does_not_matter():
    logits, targets = given_(6, 11)
    expected = both(logits, targets)[0]
    torch.set_default_dtype(torch.float64)
    try:
        ours = both(logits, targets)[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(same_bits(*pair) for pair in zip(ours, expected, strict=True))
