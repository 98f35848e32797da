"""``Recurrent`` against torch's modules, and what torch's modules cannot do."""

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from autoquant.errors import UserError
from autoquant.kernels import Cell, Weights, reference
from autoquant.layers.recurrent import Recurrent, RecurrentLayer

MODULES = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **rest: nn.RNN(*sizes, nonlinearity="relu", **rest),
}
T, B, F, H = 6, 3, 4, 5


def torch_module(kind: str, **options) -> nn.RNNBase:
    torch.manual_seed(0)
    return MODULES[kind](F, H, **options).double()


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def state_for(kind: str, *shape: int) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    return (noise(*shape, seed=2), noise(*shape, seed=3)) if kind == "lstm" else noise(*shape)


def assert_same(ours, theirs) -> None:
    """Outputs and states, in float64."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


# --- the same function as torch's ----------------------------------------------------------------


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("layers", [1, 3], ids=lambda n: f"{n}layer")
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_equals_torch(kind, bidirectional, layers, batch_first, bias):
    module = torch_module(
        kind, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first, bias=bias
    )
    ours = Recurrent.from_torch(module)
    states = layers * (2 if bidirectional else 1)
    batched = (B, T, F) if batch_first else (T, B, F)
    for shape, given in product([batched, (T, F)], [False, True]):
        inputs = noise(*shape)
        state = state_for(kind, *((states, B, H) if len(shape) == 3 else (states, H)))
        arguments = (inputs, state) if given else (inputs,)
        assert_same(ours(*arguments), module(*arguments))


@pytest.mark.parametrize("kind", MODULES)
def test_gradients_equal_torch(kind):
    module = torch_module(kind, num_layers=2, bidirectional=True)
    ours = Recurrent.from_torch(module)
    found = []
    for each in (module, ours):
        inputs = noise(T, B, F).requires_grad_()
        each(inputs)[0].square().sum().backward()
        found.append(inputs.grad)
    assert_same(*found)
    for i, suffix in product(range(2), ("", "_reverse")):
        for name in ("weight_ih", "weight_hh"):
            mine = getattr(ours.layers[i], name + suffix).grad
            assert_same(mine, getattr(module, f"{name}_l{i}{suffix}").grad)
        # the one bias stands for both: it sees the gradient of the first
        mine = getattr(ours.layers[i], "bias" + suffix).grad
        assert_same(mine, getattr(module, f"bias_ih_l{i}{suffix}").grad)


@pytest.mark.parametrize(
    ("kind", "fewer"), [("lstm", 4 * H), ("gru", 2 * H), ("rnn_tanh", H), ("rnn_relu", H)]
)
def test_has_no_bias_twice_but_the_candidate_s(kind, fewer):
    module = torch_module(kind)
    count = sum(p.numel() for p in module.parameters())
    assert sum(p.numel() for p in Recurrent.from_torch(module).parameters()) == count - fewer


def test_holds_a_copy_in_the_module_s_dtype_and_mode():
    module = torch_module("lstm").float().eval()
    ours = Recurrent.from_torch(module)
    before = ours.layers[0].weight_ih.clone()
    with torch.no_grad():
        module.weight_ih_l0.add_(1)
    assert torch.equal(ours.layers[0].weight_ih, before)
    assert before.dtype is torch.float32
    assert not ours.training
    assert Recurrent.from_torch(module.train()).training


def test_has_the_attributes_that_user_code_reads():
    module = torch_module("lstm", num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
    ours = Recurrent.from_torch(module)
    sizes = ["input_size", "hidden_size", "num_layers", "bidirectional"]
    for name in [*sizes, "batch_first", "dropout", "training"]:
        assert getattr(ours, name) == getattr(module, name)
    assert ours.flatten_parameters() is None


# --- layers of different widths ------------------------------------------------------------------

WIDTHS = (5, 9, 7)


def uneven(kind: str, *, bidirectional: bool = False, batch_first: bool = False) -> Recurrent:
    torch.manual_seed(0)
    features, layers = F, []
    for units in WIDTHS:
        layer = RecurrentLayer(Cell(kind), features, units, bidirectional=bidirectional, bias=True)
        layers.append(layer.double())
        features = layer.directions * units
    return Recurrent(layers, dropout=0.0, batch_first=batch_first)


def parts_of(state) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_the_state_is_padded_to_the_widest_layer(kind, bidirectional):
    stack = uneven(kind, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    outputs, state = stack(noise(T, B, F))
    assert outputs.shape == (T, B, directions * 7)
    for part in parts_of(state):
        assert part.shape == (3 * directions, B, 9)
        for i, units in enumerate(WIDTHS):
            own = part[i * directions : (i + 1) * directions]
            assert bool((own[..., units:] == 0).all())
            # a ReLU may leave zeros of its own; any unit counts
            assert bool((own[..., :units] != 0).any())
    last = parts_of(state)[0][-directions:, :, :7]
    assert torch.equal(last[0], outputs[-1, :, :7])
    if bidirectional:
        assert torch.equal(last[1], outputs[0, :, 7:])


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_a_given_state_can_be_fed_back(kind, batch_first, batched):
    stack = uneven(kind, batch_first=batch_first)
    time = 1 if batch_first and batched else 0
    shape = (T, F) if not batched else (B, T, F) if batch_first else (T, B, F)
    inputs = noise(*shape)
    whole, end = stack(inputs)
    first, state = stack(inputs.narrow(time, 0, 2))
    second, last = stack(inputs.narrow(time, 2, T - 2), state)
    assert_same(torch.cat([first, second], time), whole)
    assert_same(last, end)


def test_a_state_of_another_width_is_refused():
    with pytest.raises(UserError, match="a recurrent state must be 5 or 9 wide, got 6"):
        uneven("gru")(noise(T, B, F), noise(3, B, 6))


# --- units that were duplicated ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_state_of_the_original_width_follows_the_units(kind):
    """Unit 5 is a copy of unit 0, unit 6 a fresh one; layer l1 is as it was."""
    torch.manual_seed(0)
    sources = torch.tensor([0, 1, 2, 3, 4, 0, -1], dtype=torch.int16)
    grown = RecurrentLayer(Cell(kind), F, 7, bidirectional=False, bias=True).double()
    grown.register_buffer("unit_sources", sources)
    plain = RecurrentLayer(Cell(kind), 7, 5, bidirectional=False, bias=True).double()
    stack = Recurrent([grown, plain], dropout=0.0, batch_first=False)
    stack.hidden_size = 5

    def widened(part: torch.Tensor) -> torch.Tensor:
        wide = torch.zeros(2, B, 7, dtype=torch.float64)
        wide[:, :, :5] = part
        wide[0, :, 5] = part[0, :, 0]
        return wide

    narrow = state_for(kind, 2, B, 5)
    wide = tuple(widened(part) for part in parts_of(narrow))
    inputs = noise(T, B, F)
    assert_same(stack(inputs, narrow), stack(inputs, wide if kind == "lstm" else wide[0]))


# --- what it refuses, dropout and the hidden state -----------------------------------------------


def test_a_packed_sequence_is_refused():
    stack = Recurrent.from_torch(torch_module("lstm"))
    with pytest.raises(UserError, match="take padded tensors, got a PackedSequence"):
        stack(pack_sequence([noise(4, F), noise(2, F)]))


def layer_inputs(stack: Recurrent, inputs: torch.Tensor) -> tuple[list[torch.Tensor], ...]:
    """What each layer read and gave."""
    read, gave = [], []

    def watch(_: nn.Module, args: tuple, result: tuple) -> None:
        read.append(args[0])
        gave.append(result[0])

    handles = [layer.register_forward_hook(watch) for layer in stack.layers]
    stack(inputs)
    for handle in handles:
        handle.remove()
    return read, gave


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_dropout_is_between_layers_and_only_in_training(training):
    module = torch_module("gru", num_layers=2, dropout=0.5)
    stack = Recurrent.from_torch(module).train(training)
    inputs = noise(50, B, F)
    torch.manual_seed(0)
    (first, second), (between, after) = layer_inputs(stack, inputs)
    assert torch.equal(first, inputs)
    if not training:
        assert torch.equal(second, between)
        assert_same(stack(inputs)[0], module.eval()(inputs)[0])
        return
    dropped = second == 0
    assert 0.4 < float(dropped.double().mean()) < 0.6
    torch.testing.assert_close(second[~dropped], 2 * between[~dropped])
    assert not bool((after == 0).any())


def test_one_layer_has_nowhere_to_drop():
    layer = RecurrentLayer(Cell("lstm"), F, H, bidirectional=False, bias=True).double()
    stack = Recurrent([layer], dropout=0.9, batch_first=False).train()
    assert torch.equal(stack(noise(T, B, F))[0], stack(noise(T, B, F))[0])


@pytest.mark.parametrize("kind", MODULES)
def test_the_hidden_state_is_quantized_inside_the_recurrence(kind):
    """Both directions, each by the reference loop."""

    class Coarse(nn.Module):
        def forward(self, hidden):
            return hidden.mul(4).round().div(4)

    torch.manual_seed(0)
    layer = RecurrentLayer(Cell(kind), F, H, bidirectional=True, bias=True).double()
    layer.hidden_quantizer = Coarse()
    stack = Recurrent([layer], dropout=0.0, batch_first=False)
    inputs, state = noise(T, B, F), state_for(kind, 2, B, H)
    outputs, last = stack(inputs, state)
    for d, suffix in enumerate(("", "_reverse")):
        names = ("weight_ih", "weight_hh", "bias", "bias_hn")
        weights = Weights(*(getattr(layer, name + suffix, None) for name in names))
        start = tuple(part[d] for part in parts_of(state))
        flowing = inputs.flip(0) if d else inputs
        expected, end = reference.recur(Cell(kind), flowing, weights, start, Coarse())
        expected = expected.flip(0) if d else expected
        assert_same(outputs[..., d * H : (d + 1) * H], expected)
        assert_same(tuple(part[d] for part in parts_of(last)), end)
    assert torch.equal(outputs, outputs.mul(4).round().div(4))


def test_initial_weights_are_bounded_and_seeded():
    torch.manual_seed(3)
    one = RecurrentLayer(Cell("gru"), F, 16, bidirectional=True, bias=True)
    torch.manual_seed(3)
    other = RecurrentLayer(Cell("gru"), F, 16, bidirectional=True, bias=True)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert 0 < float(mine.detach().abs().max()) <= 16**-0.5


def test_a_copy_is_independent():
    stack = uneven("lstm")
    twin = copy.deepcopy(stack)
    inputs = noise(T, B, F)
    assert torch.equal(twin(inputs)[0], stack(inputs)[0])
    with torch.no_grad():
        twin.layers[0].weight_hh.zero_()
    assert not torch.equal(twin(inputs)[0], stack(inputs)[0])
