"""Which kernel runs: the best that suits, or the one that is asked for by name."""

import pytest
import torch

from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.kernels import Recurrence, Weights, recur
from autoquant.kernels.recurrent import fused, reference, registry, torch_loop
from autoquant.kernels.recurrent.registry import RegisteredEngine
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme
from tests.kernels.recurrent.cases import case

HALF = ActivationQuantizer(16, Scheme())
OBSERVING = ActivationQuantizer(4, Scheme())


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """Names of the kernels that ran."""
    names: list[str] = []

    def watched(name, function):
        return lambda *given: names.append(name) or function(*given)

    monkeypatch.setattr(fused, "recur", watched("fused", fused.recur))
    monkeypatch.setattr(reference, "recur", watched("reference", reference.recur))
    engines = [RegisteredEngine("torch", watched("looped", torch_loop.torch_loop_engine))]
    monkeypatch.setattr(registry, "ENGINES", engines)
    return names


def run(kernel: str, made, quantize=None):
    with computing(Compute(kernel=kernel)):
        return recur(made.recurrence(quantize=quantize or made.quantize))


CASES = {
    "float": (case("lstm"), None, "fused"),
    "float-packed": (case("gru", (3, 2)), None, "fused"),
    "float-projected": (case("lstm", projection=2), None, "fused"),
    "sigmoid-candidate": (case("sigmoid-lstm"), None, "looped"),
    "quantized": (case("lstm", rule="signed"), None, "looped"),
    "quantized-unclipped": (case("gru", rule="unclipped"), None, "looped"),
    "quantized-projected": (case("lstm", rule="signed", projection=2), None, "reference"),
    "half-precision": (case("lstm"), HALF, "reference"),
    "function": (case("lstm"), torch.round, "reference"),
    "observing": (case("lstm"), OBSERVING, "reference"),
}
EVERY = pytest.mark.parametrize(("made", "quantize", "best"), CASES.values(), ids=CASES)


@EVERY
def test_the_best_that_suits(ran, made, quantize, best):
    outputs, last = run("auto", made, quantize)
    assert ran == [best]
    expected, end = reference.recur(made.recurrence(quantize=quantize or made.quantize))
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(last, end, rtol=1e-9, atol=1e-11)


@EVERY
def test_the_reference_by_name(ran, made, quantize, best):
    run("reference", made, quantize)
    assert ran == ["reference"]


@EVERY
def test_torch_by_name(ran, made, quantize, best):
    if best == "reference" and quantize is not OBSERVING:
        with pytest.raises(UserError, match=r"kernel must be 'auto' or 'reference' for .*, got"):
            run("torch", made, quantize)
        assert ran == []
    else:
        run("torch", made, quantize)
        assert ran == [best]


def test_an_error_says_what_is_in_the_way():
    with pytest.raises(UserError, match="for a hidden state of 16 bits, got 'torch'"):
        run("torch", case("lstm"), HALF)
    with pytest.raises(UserError, match="for an LSTM with a projection, got 'torch'"):
        run("torch", case("lstm", rule="signed", projection=2))


def test_an_engine_by_name_is_the_only_one_asked(monkeypatch):
    asked = []
    names = ("native", "torch")
    engines = [RegisteredEngine(name, lambda *_, n=name: asked.append(n)) for name in names]
    monkeypatch.setattr(registry, "ENGINES", engines)
    made = case("lstm", rule="signed")
    with pytest.raises(UserError, match="got 'native'"):
        run("native", made)
    assert asked == ["native"]
    run("auto", made)  # nobody can: the reference does
    assert asked == ["native", "native", "torch"]


def test_a_name_holds_within_its_block(ran):
    made = case("lstm")
    run("reference", made)
    recur(made.recurrence())
    assert ran == ["reference", "fused"]


def test_under_autocast_the_reference_runs(ran):
    made = case("lstm", rule="signed", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recur(made.recurrence())
    assert ran == ["reference"]


@pytest.mark.parametrize("rule", ["float", "signed"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_no_steps(name, rule):
    made = case(name, (3,), rule)
    with pytest.raises(UserError, match="a sequence must have at least one step, got none"):
        recur(made.recurrence(inputs=made.inputs[:0], sizes=[]))


@pytest.mark.parametrize("rule", ["float", "signed"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_no_sequences(name, rule):
    outputs, last = recur(case(name, (0, 0), rule).recurrence())
    assert outputs.shape == (0, 5)
    assert {part.shape for part in last} == {(0, 5)}


def test_a_state_of_another_batch():
    made = case("lstm", (3, 3), "signed")
    state = tuple(part[:2] for part in made.state)
    with pytest.raises(UserError, match=r"a row for each sequence \(3\), got 2"):
        recur(made.recurrence(state=state))


@pytest.mark.parametrize("sizes", [[2, 3], [3, 1], [3, 3]], ids=str)
def test_sizes_that_do_not_fit(sizes):
    weights = Weights(torch.ones(5, 4), torch.ones(5, 5), None)
    state = (torch.zeros(sizes[0], 5),)
    with pytest.raises(ValueError, match="sizes must not increase and add up to 5"):
        recur(Recurrence(case("rnn_tanh").cell, torch.ones(5, 4), sizes, weights, state))
