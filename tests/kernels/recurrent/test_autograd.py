"""A recurrence as an operation of autograd: what it saves, refuses and leaves out."""

import gc
import weakref

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from autoquant.kernels import Cell
from autoquant.kernels.recurrent import autograd, reference, torch_loop
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, QuantParams, QuantSpec, quant_params_of
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.settings import Scheme
from tests.kernels.recurrent.cases import CELLS, Case, all_of, assert_same, case, engined, looping


class Spy:
    """The torch loop; remembers what it was asked and what it gave."""

    def __init__(self):
        self.job = self.saved = self.gradients = None

    def __call__(self, job, operands):
        self.job = job
        return self

    def forward(self, *given):
        result = torch_loop.TORCH_LOOP.forward(*given)
        self.saved = result.saved
        return result

    def backward(self, *given):
        self.gradients = torch_loop.TORCH_LOOP.backward(*given)
        return self.gradients


def spied(made: Case) -> tuple[Spy, torch.Tensor]:
    spy = Spy()
    return spy, engined(spy, made.recurrence())[0]


def test_the_engine_is_told_what_the_quantizer_does():
    made = case("lstm", (3, 2), "unsigned", bits=3)
    spy, _ = spied(made)
    assert (spy.job.cell, spy.job.sizes) == (made.cell, (3, 2))
    assert spy.job.hidden == QuantSpec(Grid.unsigned(3), clip=True, masked=True)


def test_nothing_is_masked_where_nothing_is_clipped():
    spy, _ = spied(case("lstm", (3, 2), "unclipped"))
    assert (spy.job.hidden.clip, spy.job.hidden.masked) == (False, False)


def test_the_engine_is_told_the_codes_of_the_recurrent_weight():
    made = case("lstm", (3, 2), "signed")
    assert spied(made)[0].job.weight_params is None
    grid, scale = Grid.signed(4), torch.tensor(0.1, dtype=torch.float64)
    weight = fake_quantize(made.weights.recurrent, scale, grid)
    spy = Spy()
    weights = made.weights._replace(recurrent=weight)
    engined(spy, made.recurrence(weights=weights))
    assert spy.job.weight_params == quant_params_of(weight) == QuantParams(scale, grid)


@pytest.mark.parametrize("wanted", ["inputs", "recurrent", "candidate_bias", "scale", "state"])
def test_gradients_that_nobody_wants_are_left_out(wanted):
    made = case("gru", (3, 3, 1), "signed")
    named = made.weights._asdict() | {"inputs": made.inputs, "state": made.state[0]}
    named["scale"] = made.quantize.log_scale
    for leaf in made.leaves:
        leaf.requires_grad_(leaf is named[wanted])
    spy, outputs = spied(made)
    (ours,) = torch.autograd.grad(outputs.sum(), named[wanted])
    assert (spy.gradients.scale is None) == (wanted != "scale")
    # the first hidden state is rounded too: through it the step size gets a part of its gradient
    assert (spy.gradients.state[0] is None) == (wanted not in ("state", "scale"))
    expected, _ = reference.recur(made.recurrence())
    assert_same([ours], [*torch.autograd.grad(expected.sum(), named[wanted])])


@pytest.mark.parametrize("name", CELLS)
def test_a_first_state_that_wants_no_gradient_gets_none(name):
    made = case(name, (3, 3, 1))
    for part in made.state:
        part.requires_grad_(False)
    spy, outputs = spied(made)
    sources = [each for each in made.leaves if each.requires_grad]
    ours = torch.autograd.grad(outputs.sum(), sources)
    assert set(spy.gradients.state) == {None}
    expected, _ = reference.recur(made.recurrence())
    assert_same([*ours], [*torch.autograd.grad(expected.sum(), sources)])


def test_nothing_is_kept_where_nothing_wants_a_gradient():
    made = case("lstm", rule="signed")
    for leaf in made.leaves:
        leaf.requires_grad_(False)
    spy, outputs = spied(made)
    assert (spy.saved, outputs.requires_grad) == ((), False)


def test_nothing_is_kept_under_no_grad():
    with torch.no_grad():
        spy, outputs = spied(case("lstm", rule="signed"))
    assert (spy.saved, spy.job.training, outputs.requires_grad) == ((), False, False)


@pytest.mark.parametrize("name", CELLS)
def test_a_graph_may_be_walked_twice(name):
    made = case(name, (3, 3, 1), "signed")
    outputs, last = looping(made.recurrence())
    loss = outputs.square().sum() + last[-1].sum()
    first = torch.autograd.grad(loss, made.leaves, retain_graph=True)
    again = torch.autograd.grad(loss, made.leaves)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("changed", ["outputs", "weight"])
def test_a_change_of_what_is_kept_is_noticed(name, changed):
    made = case(name, rule="signed")
    outputs, _ = looping(made.recurrence())
    loss = outputs.sum()
    with torch.no_grad():
        (outputs if changed == "outputs" else made.weights.recurrent).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_gradient_of_a_gradient():
    made = case("lstm")
    outputs, _ = looping(made.recurrence())
    (grad,) = torch.autograd.grad(outputs.square().sum(), made.weights.recurrent, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


class Held:
    """A tensor that a graph has saved."""

    def __init__(self, tensor):
        self.tensor = tensor


@pytest.mark.parametrize("walked", [True, False], ids=["after-backward", "without-backward"])
@pytest.mark.parametrize("name", CELLS)
def test_memory_is_given_back_at_once(name, walked):
    """Without the help of the garbage collector: there is no cycle."""
    made, held = case(name, rule="signed"), []

    def hold(tensor):
        box = Held(tensor.detach())  # an output would hold its own graph
        held.append(weakref.ref(box))
        return box

    gc.disable()
    try:
        with saved_tensors_hooks(hold, lambda box: box.tensor):
            outputs, last = looping(made.recurrence())
        if walked:
            outputs.sum().backward()
        assert any(box() for box in held) is not walked
        del outputs, last
        assert not any(box() for box in held)
    finally:
        gc.enable()


def test_steps_of_training_carry_nothing_over():
    """A state that is passed on detached keeps no graph alive."""
    made, seen = case("lstm", rule="signed"), []
    state = made.state
    for _ in range(3):
        outputs, last = looping(made.recurrence(state=state))
        seen.append(weakref.ref(outputs.grad_fn))
        outputs.sum().backward()
        state = tuple(part.detach() for part in last)
    del outputs, last
    assert not any(node() for node in seen)


@pytest.mark.parametrize("name", ["lstm", "rnn_relu"])
def test_the_last_state_has_memory_of_its_own(name):
    outputs, last = looping(case(name).recurrence())
    spans = {part.untyped_storage().data_ptr() for part in (outputs, *last)}
    assert len(spans) == 1 + len(last)


def test_gradients_reach_a_step_size_shared_by_all_steps():
    """The reference rounds step by step; each step is scaled as a tensor of its own."""
    for sizes in ((3, 3, 3), (5, 2, 1)):
        made = case("rnn_tanh", sizes, "signed", bits=2)
        (ours, theirs) = (all_of(run, made)[-1] for run in (looping, reference.recur))
        assert abs(float(theirs)) > 1e-3
        assert float(ours) == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize(
    ("quantize", "words"),
    [
        pytest.param(torch.round, "quantized by builtin", id="function"),
        pytest.param(ActivationQuantizer(16, Scheme()), "of 16 bits", id="half-precision"),
    ],
)
def test_says_which_hidden_states_no_engine_takes(quantize, words):
    made = case("lstm")
    assert words in autograd.obstacle(made.recurrence(quantize=quantize))


def test_says_what_else_no_engine_takes():
    made = case("lstm", projection=2)
    assert autograd.obstacle(made.recurrence()) == "an LSTM with a projection"
    made = case("lstm", rule="signed")
    assert autograd.obstacle(made.recurrence()) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        problem = autograd.obstacle(made.recurrence())
    assert problem == "a layer under autocast"


def test_a_gru_that_resets_first_is_left_to_the_reference():
    made = case("gru", rule="unsigned")
    problem = autograd.obstacle(made.recurrence(cell=Cell("gru", "sigmoid")))
    assert problem == "a GRU that resets first"


def test_without_an_engine_there_is_no_result():
    made = case("lstm", rule="signed")
    assert autograd.recur(made.recurrence(), [lambda *_: None]) is None
