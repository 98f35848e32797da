"""The engine in torch's operations against the reference loop, with all gradients."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoquant.backend import Compute, computing
from autoquant.kernels import Recurrence, Weights
from autoquant.kernels.recurrent import reference, torch_loop
from autoquant.kernels.recurrent.engine import BackwardOperands, Job, Operands
from autoquant.quantization.codes import QuantSpec
from tests.kernels.recurrent.cases import (
    CELLS,
    RULES,
    all_of,
    alone,
    assert_same,
    case,
    cases,
    looping,
)

SIZES = {"padded": (3, 3, 3), "packed": (4, 3, 3, 1), "one-step": (3,), "one-sequence": (1,) * 4}


class OneDevice(TorchDispatchMode):
    """Refuses a tensor on the CPU: copying it to a GPU, too, would stop the stream."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves((args, result)):
            assert not isinstance(each, torch.Tensor) or each.device.type == "meta", operation
        return result


@settings(max_examples=300)
@given(cases(), st.sampled_from(["outputs", "last", "all"]))
def test_equals_the_reference(recurrence, through):
    ours = all_of(looping, recurrence, through=through)
    assert_same(ours, all_of(reference.recur, recurrence, through=through))


@given(cases(dtype=torch.float32))
def test_equals_the_reference_in_single_precision(recurrence):
    seen = []
    if recurrence.quantize is not None:
        recurrence.quantize.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    expected = all_of(reference.recur, recurrence)
    for hidden in seen:  # the last bit of a value must not decide on which side it is rounded
        steps = (hidden / recurrence.quantize.scale()).detach()
        assume(bool(((steps % 1 - 0.5).abs() > 1e-4).all()))
        assume(float(steps.abs().max()) < 1e3)
    assert_same(all_of(looping, recurrence), expected, 1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_reference_on_one_unit(name, rule):
    one = case(name, (1,), rule, features=1, units=1)
    assert_same(all_of(looping, one), all_of(reference.recur, one))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_finite_differences(name, sizes):
    made = case(name, sizes, features=2, units=2)
    parts = len(made.state)

    def run(inputs, *rest):
        weights, state = Weights(*rest[:-parts]), rest[-parts:]
        outputs, last = looping(Recurrence(made.cell, inputs, made.sizes, weights, state))
        return outputs, *last

    weights = made.weights[: 4 if name == "gru" else 3]
    assert torch.autograd.gradcheck(run, (made.inputs, *weights, *made.state))


@pytest.mark.parametrize("rule", ["float", "signed"])
@pytest.mark.parametrize("name", CELLS)
def test_a_packed_sequence_runs_as_if_alone(name, rule):
    packed = case(name, (4, 3, 3, 1, 1), rule)
    outputs, last = looping(packed.recurrence())
    for sequence in range(4):
        own, rows = alone(packed, sequence)
        expected, end = looping(own.recurrence())
        assert_same([outputs[rows]], [expected])
        assert_same([part[sequence : sequence + 1] for part in last], [*end])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_a_value_that_is_not_finite_spreads_as_in_the_reference(name, rule, value):
    made = case(name, (3, 3, 2), rule)
    with torch.no_grad():
        made.inputs[4, 1] = value
    results = []
    for run in (looping, reference.recur):
        outputs, last = run(made.recurrence())
        (grad,) = torch.autograd.grad(outputs.sum(), made.weights.input)
        assert not grad.isfinite().all()
        results.append([outputs, *last])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", CELLS)
def test_no_sequences(name):
    outputs, last = looping(case(name, (0, 0)).recurrence())
    assert outputs.shape == (0, 5)
    assert {part.shape for part in last} == {(0, 5)}


@pytest.mark.parametrize("rule", ["float", "signed"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", CELLS)
def test_without_gradients_the_numbers_are_the_same_and_nothing_is_saved(name, sizes, rule):
    made = case(name, sizes, rule)
    expected, end = looping(made.recurrence())
    with torch.no_grad():
        outputs, last = looping(made.recurrence())
        job = Job(made.cell, made.sizes, training=False)
        projected = made.inputs @ made.weights.input.t()
        operands = Operands(projected, made.weights.recurrent, None, made.state, None)
        *_, saved = torch_loop.TORCH_LOOP.forward(job, operands)
    assert torch.equal(outputs, expected)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(last, end, strict=True))
    assert outputs.grad_fn is None
    assert saved == ()


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_bfloat16_products_are_near(name, monkeypatch):
    monkeypatch.setattr("autoquant.backend.has_bfloat16", lambda _: True)  # it may be slow here
    made = case(name, (4, 4, 2), "signed", units=16, dtype=torch.float32)
    expected = all_of(looping, made)
    with computing(Compute(precision="bfloat16")):
        ours = all_of(looping, made)
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - theirs).detach().norm()) <= 0.02 * float(theirs.detach().norm())
    assert not all(torch.equal(*pair) for pair in zip(ours, expected, strict=True))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_never_waits_for_a_number(name, rule, sizes):
    """On tensors without numbers; on a GPU each look at one would stop the stream."""
    made = case(name, sizes, rule)
    grid = made.quantize.grid if made.quantize else None
    spec = QuantSpec(grid, clip=rule != "unclipped", masked=rule == "signed") if grid else None
    job = Job(made.cell, made.sizes, spec)
    empty = [each.detach().to("meta") for each in (made.weights.recurrent, *made.state)]
    weight, *state = empty
    projected = torch.empty(sum(sizes), weight.shape[0], dtype=weight.dtype, device="meta")
    scale = torch.empty((), device="meta") if made.quantize else None
    operands = Operands(projected, weight, None, tuple(state), scale)
    with OneDevice():
        outputs, last, saved = torch_loop.TORCH_LOOP.forward(job, operands)
        back = BackwardOperands(weight, None, scale, outputs, last)
        grads = torch_loop.TORCH_LOOP.backward(job, back, saved)
    assert grads.projected.shape == grads.recurrent_product.shape == projected.shape
    assert [part.shape for part in grads.state] == [part.shape for part in made.state]
    assert (grads.scale is None) == (made.quantize is None)


def test_takes_numbers_of_one_type_only():
    made = case(dtype=torch.float32)
    job = Job(made.cell, made.sizes)
    operands = Operands(made.inputs, made.weights.recurrent, None, made.state, None)
    assert torch_loop.torch_loop_engine(job, operands) is torch_loop.TORCH_LOOP
    other = operands._replace(state=tuple(part.double() for part in made.state))
    assert torch_loop.torch_loop_engine(job, other) is None
