"""The plain loop against torch's own modules and against a literal loop of the paper's formulas."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from autoquant.kernels import Cell, Recurrence, Weights
from autoquant.kernels.recurrent import reference
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme
from tests.kernels.recurrent.cases import CELLS, alone, assert_same, case

T, B, F, H = 6, 3, 4, 5
SIZES = (B,) * T
PACKED = (4, 4, 3, 1, 1)
MODULES = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **rest: nn.RNN(*sizes, nonlinearity="relu", **rest),
}
KINDS = pytest.mark.parametrize("kind", MODULES)
BIASES = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])


def weights_of(module: nn.RNNBase, kind: str) -> Weights:
    """torch's weights in the layout of Weights; differentiable."""
    pair = module.weight_ih_l0, module.weight_hh_l0
    if not module.bias:
        return Weights(*pair, None)
    first, second = module.bias_ih_l0, module.bias_hh_l0
    if kind != "gru":
        return Weights(*pair, first + second)
    joined = first + torch.cat([second[: 2 * H], torch.zeros(H, dtype=second.dtype)])
    return Weights(*pair, joined, second[2 * H :])


def start_of(kind: str, batch: int = B) -> tuple[torch.Tensor, ...]:
    parts = 2 if kind == "lstm" else 1
    return tuple(torch.randn(batch, H, dtype=torch.float64) for _ in range(parts))


@KINDS
@BIASES
def test_equals_torch_with_gradients(kind, bias):
    torch.manual_seed(0)
    module = MODULES[kind](F, H, bias=bias).double()
    inputs = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    start = start_of(kind)
    given = tuple(part[None] for part in start)
    expected, last = module(inputs, given if kind == "lstm" else given[0])
    weights = weights_of(module, kind)
    flat = inputs.flatten(0, 1)
    ours, end = reference.recur(Recurrence(Cell(kind), flat, SIZES, weights, start))
    ours = ours.view_as(expected)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    for part, theirs in zip(end, last if kind == "lstm" else (last,), strict=True):
        torch.testing.assert_close(part, theirs[0], rtol=1e-10, atol=1e-12)
    upstream = torch.randn_like(expected)
    sources = [inputs, *module.parameters()]
    theirs = torch.autograd.grad(expected, sources, upstream)
    mine = torch.autograd.grad(ours, sources, upstream)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@KINDS
@BIASES
def test_packed_sequences_equal_torch_with_gradients(kind, bias):
    torch.manual_seed(0)
    module = MODULES[kind](F, H, bias=bias).double()
    inputs = torch.randn(sum(PACKED), F, dtype=torch.float64, requires_grad=True)
    start = start_of(kind, PACKED[0])
    given = tuple(part[None] for part in start)
    packed = PackedSequence(inputs, torch.tensor(PACKED))
    expected, last = module(packed, given if kind == "lstm" else given[0])
    weights = weights_of(module, kind)
    ours, end = reference.recur(Recurrence(Cell(kind), inputs, PACKED, weights, start))
    torch.testing.assert_close(ours, expected.data, rtol=1e-10, atol=1e-12)
    for part, theirs in zip(end, last if kind == "lstm" else (last,), strict=True):
        torch.testing.assert_close(part, theirs[0], rtol=1e-10, atol=1e-12)
    sources = [inputs, *module.parameters()]
    mine = torch.autograd.grad(ours.square().sum() + end[-1].sum(), sources)
    theirs = expected.data.square().sum() + (last[-1] if kind == "lstm" else last).sum()
    for one, other in zip(mine, torch.autograd.grad(theirs, sources), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("sizes", [SIZES, PACKED], ids=["padded", "packed"])
def test_a_projected_lstm_equals_torch(sizes):
    torch.manual_seed(0)
    module = nn.LSTM(F, H, proj_size=2).double()
    inputs = torch.randn(sum(sizes), F, dtype=torch.float64)
    expected, last = module(PackedSequence(inputs, torch.tensor(sizes)))
    weights = weights_of(module, "lstm")._replace(projection=module.weight_hr_l0)
    start = tuple(torch.zeros(sizes[0], width, dtype=torch.float64) for width in (2, H))
    ours, end = reference.recur(Recurrence(Cell("lstm"), inputs, sizes, weights, start))
    torch.testing.assert_close(ours, expected.data, rtol=1e-10, atol=1e-12)
    for part, theirs in zip(end, last, strict=True):
        torch.testing.assert_close(part, theirs[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_a_packed_sequence_runs_as_if_alone(name):
    packed = case(name, PACKED, "signed")
    outputs, last = reference.recur(packed.recurrence())
    for sequence in range(PACKED[0]):
        own, rows = alone(packed, sequence)
        expected, end = reference.recur(own.recurrence())
        assert_same([outputs[rows]], [expected])
        assert_same([part[sequence : sequence + 1] for part in last], [*end])


def test_what_is_projected_is_then_quantized():
    made = case("lstm", PACKED, "signed", projection=2)
    outputs, _ = reference.recur(made.recurrence())
    codes = outputs / made.quantize.scale()
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-9)
    assert len(codes.round().unique()) > 2


@KINDS
def test_quantizes_the_initial_and_every_later_hidden_state(kind):
    torch.manual_seed(0)
    module = MODULES[kind](F, H).double()
    seen: list[torch.Tensor] = []

    def quantize(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden)
        return hidden.mul(4).round().div(4)

    start = start_of(kind)
    inputs = torch.randn(T, B, F, dtype=torch.float64)
    weights, cell = weights_of(module, kind), Cell(kind)
    flat = inputs.flatten(0, 1)
    rows, last = reference.recur(Recurrence(cell, flat, SIZES, weights, start, quantize))
    outputs = rows.view(T, B, H)
    assert len(seen) == T + 1
    assert seen[0] is start[0]
    for before, after in zip(seen[1:], outputs, strict=True):
        assert torch.equal(after, before.mul(4).round().div(4))
    assert torch.equal(last[0], outputs[-1])
    # each step by itself, from the quantized state before it: what the next step really read
    memory = start[1:]
    for t in range(T):
        hidden = quantize(start[0]) if t == 0 else outputs[t - 1]
        step = Recurrence(cell, inputs[t], [B], weights, (hidden, *memory))
        one, (_, *memory) = reference.recur(step)
        torch.testing.assert_close(one, seen[t + 1], rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(last[1:], memory, strict=True):  # the cell is not quantized
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_pass_through_the_quantized_state():
    torch.manual_seed(0)
    weights = Weights(torch.randn(4 * H, F), torch.randn(4 * H, H), None)
    start = torch.rand(B, H, requires_grad=True), torch.zeros(B, H)
    quantizer = ActivationQuantizer(4, Scheme.bit_rnn())
    inputs = torch.randn(T * B, F)
    cell = Cell("lstm", "sigmoid")
    outputs, _ = reference.recur(Recurrence(cell, inputs, SIZES, weights, start, quantizer))
    outputs[-B:].sum().backward()
    assert float(start[0].grad.abs().min()) > 0


@pytest.mark.parametrize("f", [2, 3, 4, 8], ids=lambda f: f"{f}bit")
def test_bit_rnn_lstm_against_a_literal_loop(f):
    """c' = c * sig(f + 1) + sig(i) * sig(j), h' = A(sig(c') * sig(o)), h0 = A(h0); only h is
    quantized.
    """

    def sig(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def quantized(x: np.ndarray) -> np.ndarray:
        return np.round((2**f - 1) * x) / (2**f - 1)

    rng = np.random.default_rng(f)
    W, U, b = rng.normal(size=(4 * H, F)), rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)
    x, h0, c0 = rng.normal(size=(T, B, F)), rng.random((B, H)), rng.random((B, H))
    h, c, expected = quantized(h0), c0, []
    for x_t in x:
        i, fg, j, o = np.split(x_t @ W.T + h @ U.T + b, 4, axis=1)
        c = c * sig(fg + 1) + sig(i) * sig(j)
        h = quantized(sig(c) * sig(o))
        expected.append(h)
    quantizer = ActivationQuantizer(f, Scheme.bit_rnn()).double()
    weights = Weights(*(torch.from_numpy(part) for part in (W, U, b)))
    start = torch.from_numpy(h0), torch.from_numpy(c0)
    cell = Cell("lstm", "sigmoid")
    with torch.no_grad():
        flat = torch.from_numpy(x).flatten(0, 1)
        recurrence = Recurrence(cell, flat, SIZES, weights, start, quantizer)
        outputs, last = reference.recur(recurrence)
    np.testing.assert_allclose(outputs.numpy(), np.concatenate(expected), rtol=0, atol=1e-6)
    np.testing.assert_allclose(last[1].numpy(), c, rtol=0, atol=1e-6)
    assert 0 <= float(outputs.min()) <= float(outputs.max()) <= 1
