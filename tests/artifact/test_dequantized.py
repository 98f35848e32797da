"""A plain model with the weights of a loaded one: torch's modules, and nearly equal outputs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import autoquant as aq
from autoquant.artifact.torch_recurrent import NarrowLSTM
from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.plan import LayerChoice
from autoquant.runtime import PackedWeight
from autoquant.settings import Scheme
from autoquant.tasks.language_model import LanguageModel
from tests import toys
from tests.layers.test_weight_drop import WORDS as DROPPED_WORDS
from tests.layers.test_weight_drop import lstm as dropped_lstm
from tests.runtime.pairs import Build, Pair, flat, noise, pair, weights_of

TOLERANCE = 1e-6
"""Of the largest output: float32 sums in another order. 2e-7 were measured."""
FRAMES, WORDS = noise(7, 3, 5), torch.arange(34).view(17, 2) % 17
FLAT_WEIGHTS = "ignore:The tensor attributes .*_flat_weights"  # of any recurrent module of torch
UNUSED_PROJECTION = "ignore:LSTM with projections is not supported with oneDNN"


class Scaled(nn.Linear):
    """A subclass that runs as nn.Linear, with an attribute of its own."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.note = "the user's"


class Everything(nn.Module):
    """Layers of most kinds; the third norm can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.front = Scaled(5, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(6, 4, 1)
        self.cell = nn.GRUCell(4, 6)
        self.bilinear = nn.Bilinear(6, 6, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, frames: Tensor) -> Tensor:
        values = torch.tanh(self.front(frames))
        values = self.norm(values + self.attention(values, values, values)[0])
        values = torch.relu(self.batch_norm(self.conv(values.permute(1, 2, 0))))
        state, states = None, []
        for step in self.up(values).permute(2, 0, 1):
            state = self.cell(step, state)
            states.append(state)
        values = torch.stack(states)
        return self.out(torch.relu(self.bilinear(values, values)))


class Cell(nn.Module):
    """A cell of torch in a loop of the user's."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell = (
            getattr(nn, kind)(5, 6, nonlinearity="relu")
            if kind == "RNNCell"
            else (getattr(nn, kind)(5, 6, bias=kind != "GRUCell"))
        )
        self.out = nn.Linear(6, 3)

    def forward(self, frames: Tensor) -> Tensor:
        state, outputs = None, []
        for frame in frames:
            state = self.cell(frame, state)
            outputs.append(self.out(state[0] if isinstance(state, tuple) else state))
        return torch.stack(outputs)


class Tied(nn.Module):
    """One table for words and logits."""

    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(17, 6, padding_idx=padding)
        self.rnn = nn.GRU(6, 6)
        self.out = nn.Linear(6, 17)
        self.out.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.rnn(self.embedding(words))[0])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.out = nn.Linear(5, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        return self.out(self.layer(self.front(frames)))


def made(folder: Path, build: Build, inputs: Tensor, bits: int = 4, **widths: float) -> Pair:
    """A loaded model with activations in 32 bits."""
    return pair(folder, build, LayerChoice(bits, 32), inputs, **widths)


@torch.no_grad()
def assert_near(ours: nn.Module, theirs: nn.Module, *inputs: Any) -> None:
    left, right = flat(ours(*inputs)), flat(theirs(*inputs))
    assert len(left) == len(right)
    for mine, other in zip(left, right, strict=True):
        bound = TOLERANCE * float(other.abs().max())
        torch.testing.assert_close(mine, other, rtol=0, atol=bound)


def assert_plain(model: nn.Module, *exceptions: type[nn.Module]) -> None:
    """Every module is torch's or the user's, without hooks, and every parameter is trained."""
    for module in model.modules():
        if type(module) not in exceptions:
            assert type(module).__module__.split(".")[0] in ("torch", "tests"), type(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module.training
        assert "forward" not in vars(module)
    for parameter in model.parameters():
        assert type(parameter) is nn.Parameter
        assert parameter.requires_grad
        assert parameter.is_leaf


# --- layers of every kind -------------------------------------------------------------------------


KINDS: dict[str, tuple[Build, Tensor]] = {
    "everything": (Everything, FRAMES),
    "LSTM cell": (lambda: Cell("LSTMCell"), FRAMES),
    "GRU cell without biases": (lambda: Cell("GRUCell"), FRAMES),
    "RNN cell": (lambda: Cell("RNNCell"), FRAMES),
    "transformer": (Transformer, FRAMES),
    "tied": (Tied, WORDS),
    "packed sequences": (lambda: toys.Tagger(num_layers=2, bidirectional=True), toys.sentences()),
    "a bare layer": (lambda: nn.LSTM(5, 6, 2), FRAMES),
    "weight drop": (dropped_lstm, DROPPED_WORDS),
}


@pytest.mark.parametrize(
    ("kind", "bits"),
    [(kind, bits) for i, kind in enumerate(KINDS) for bits in ((3, 8), (4, 32))[i % 2]],
)
def test_outputs_are_those_of_the_loaded_model(kind: str, bits: int, tmp_path: Path) -> None:
    build, inputs = KINDS[kind]
    both = made(tmp_path, build, inputs, bits)
    before = both.loaded.state_dict()
    plain = aq.dequantized(both.loaded)
    assert_plain(plain)
    assert_near(plain, both.loaded, inputs)
    assert [*both.loaded.state_dict()] == [*before]  # the loaded model is left as it is
    assert bool(weights_of(both.loaded)) == (bits < 32)


@pytest.mark.parametrize("kind", [*KINDS][:-1])  # weight drop renames weights once it has run
def test_the_state_dict_has_the_names_and_shapes_of_the_users_model(
    kind: str, tmp_path: Path
) -> None:
    build, inputs = KINDS[kind]
    plain = aq.dequantized(made(tmp_path, build, inputs).loaded)
    fresh = build().eval()
    assert [*plain.state_dict()] == [*fresh.state_dict()]
    fresh.load_state_dict(plain.state_dict())
    assert_near(fresh, plain, inputs)


def test_weights_are_the_values_of_the_codes(tmp_path: Path) -> None:
    both = made(tmp_path, Everything, FRAMES, bits=3)
    plain = aq.dequantized(both.loaded)
    for name in ("front.weight", "conv.weight", "bilinear.weight", "out.bias"):
        path, _, attribute = name.rpartition(".")
        values = getattr(both.loaded.get_submodule(path), attribute)
        assert torch.equal(plain.get_parameter(name), values)
    assert len(plain.get_parameter("out.weight")[0].unique()) <= 8


def test_a_subclass_of_the_users_is_itself_again(tmp_path: Path) -> None:
    plain: Any = aq.dequantized(made(tmp_path, Everything, FRAMES).loaded)
    assert type(plain.front) is Scaled
    assert plain.front.note == "the user's"
    assert type(plain.out) is nn.Linear
    assert type(plain.attention) is nn.MultiheadAttention


def test_activations_are_not_quantized(tmp_path: Path) -> None:
    """Outputs differ by the rounding of activations alone: those of 32 bits are the same ones."""
    choice = LayerChoice(4, 4)
    both = pair(tmp_path, Everything, choice, FRAMES)
    plain = aq.dequantized(both.loaded)
    assert_plain(plain)
    names = {name.rpartition(".")[2] for name, _ in plain.named_modules()}
    assert not names & {"input_quantizer", "hidden_quantizer"}
    with torch.no_grad():
        difference = (plain(FRAMES) - both.loaded(FRAMES)).abs().max()
        assert 0 < float(difference) < 0.5 * float(plain(FRAMES).abs().max())


def test_norms_in_half_precision(tmp_path: Path) -> None:
    choice, scheme = LayerChoice(4, 32), Scheme(norms="half")
    both = pair(tmp_path, Everything, choice, FRAMES, scheme, conv=1.5)
    plain: Any = aq.dequantized(both.loaded)
    assert_plain(plain)
    assert type(plain.batch_norm) is nn.BatchNorm1d
    assert_near(plain, both.loaded, FRAMES)


def test_a_hook_of_the_users_stays(tmp_path: Path) -> None:
    both = made(tmp_path, lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), FRAMES)
    called: list[str] = []
    both.loaded[0].register_forward_hook(lambda *_: called.append("hook"))  # type: ignore[operator]
    aq.dequantized(both.loaded)(FRAMES)
    assert called == ["hook"]


# --- recurrent stacks -----------------------------------------------------------------------------


STACKS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "LSTM, batch first": {"batch_first": True},
    "LSTM, both ways": {"bidirectional": True},
    "LSTM, projected": {"projection": 3, "bidirectional": True},
    "GRU": {"cell": "GRU"},
    "GRU, both ways, no biases": {"cell": "GRU", "bidirectional": True, "bias": False},
    "RNN": {"cell": "RNN"},
}
GROWN: dict[str, dict[str, float]] = {
    "as it was": {},
    "all wider": {"rnn__l0": 1.4, "rnn__l1": 1.4},
    "last the widest": {"rnn__l1": 1.4},
    "first the widest": {"rnn__l0": 1.4},
}
TURNS = [
    (stack, grown)
    for i, stack in enumerate(STACKS)
    for j, grown in enumerate(GROWN)
    if (i + j) % 2 == 0
]


@pytest.mark.filterwarnings(UNUSED_PROJECTION)
@pytest.mark.parametrize(("name", "grown"), TURNS)
def test_stacks_and_their_states(name: str, grown: str, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return toys.Stack(layers=2, **STACKS[name])

    both = made(tmp_path, build, FRAMES, **GROWN[grown])
    plain: Any = aq.dequantized(both.loaded)
    narrow = grown == "first the widest"
    assert_plain(plain, *[type(plain.rnn)] * narrow)
    assert (type(plain.rnn).__name__ == f"Narrow{name[:4].strip(',')}") == narrow
    assert isinstance(plain.rnn, getattr(nn, name[:4].strip(",")))
    assert_near(plain, both.loaded, FRAMES)
    with torch.no_grad():
        _, state = both.loaded(FRAMES)
    assert_near(plain, both.loaded, noise(7, 3, 5, seed=2), state)
    if not STACKS[name].get("batch_first"):
        assert_near(plain, both.loaded, FRAMES[:, 0])  # without a batch axis


def test_packed_sequences_of_a_narrow_last_layer(tmp_path: Path) -> None:
    build, sentences = KINDS["packed sequences"]
    both = made(tmp_path, build, sentences, rnn__l0=2.0)
    plain: Any = aq.dequantized(both.loaded)
    assert type(plain.rnn) is NarrowLSTM
    assert_near(plain, both.loaded, sentences)


@pytest.mark.filterwarnings(UNUSED_PROJECTION)
def test_a_projection_that_has_grown_beyond_the_cells(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return toys.Stack(projection=3)

    both = made(tmp_path, build, FRAMES, rnn__l0=2.5)
    plain: Any = aq.dequantized(both.loaded)
    assert plain.rnn.proj_size == 7
    with torch.no_grad():
        (ours, (h, c)), (theirs, last) = plain(FRAMES), both.loaded(FRAMES)
    for mine, other in ((ours, theirs), (h, last[0]), (c[..., :6], last[1])):
        torch.testing.assert_close(mine, other)
    assert not c[..., 6:].any()


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_grown_cells(kind: str, tmp_path: Path) -> None:
    both = made(tmp_path, lambda: Cell(kind), FRAMES, cell=1.5)
    plain: Any = aq.dequantized(both.loaded)
    assert_plain(plain)
    assert plain.cell.hidden_size == plain.out.in_features > 6
    assert_near(plain, both.loaded, FRAMES)


def test_a_cell_of_bit_rnn_is_refused(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return LanguageModel(17, 5, 6, candidate="sigmoid", rectified=True)

    loaded = made(tmp_path, build, WORDS).loaded
    message = r"rnn\.l0 must be a recurrent layer that torch has, got one with a sigmoid candidate"
    with pytest.raises(aq.UserError, match=message):
        aq.dequantized(loaded)


def test_an_initial_state_that_torch_lacks_is_refused(tmp_path: Path) -> None:
    loaded = made(tmp_path, lambda: LanguageModel(17, 5, 6, initial=0.5), WORDS).loaded
    with pytest.raises(aq.UserError, match=r"rnn\.l0 must be .* an initial state of 0\.5"):
        aq.dequantized(loaded)


def test_a_language_model_is_of_torchs_layers(tmp_path: Path) -> None:
    both = made(tmp_path, lambda: LanguageModel(17, 5, 6, 2, bands=[4]), WORDS)
    plain = aq.dequantized(both.loaded)
    assert not any(isinstance(module, IntegerLinear | PackedWeight) for module in plain.modules())
    assert_near(plain, both.loaded, WORDS)


# --- other grown layers ---------------------------------------------------------------------------


def test_a_grown_model(tmp_path: Path) -> None:
    """The checks of widths are gone."""
    widths = dict.fromkeys(("conv", "up", "bilinear"), 1.5)
    both = made(tmp_path, Everything, FRAMES, **widths)
    assert any(module._forward_pre_hooks for module in both.loaded.modules())
    plain = aq.dequantized(both.loaded)
    assert_plain(plain)
    assert_near(plain, both.loaded, FRAMES)


def test_attention_with_heads_of_its_own_stays(tmp_path: Path) -> None:
    widths = {"front": 2.0, "layer__self_attn__out_proj": 2.0, "layer__linear2": 2.0}
    both = made(tmp_path, Transformer, FRAMES, **widths)
    plain: Any = aq.dequantized(both.loaded)
    assert_plain(plain, Attention)
    assert type(plain.layer.self_attn.q_proj) is nn.Linear
    assert_near(plain, both.loaded, FRAMES)


# --- tied weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4, 32])
def test_tied_weights_stay_tied(bits: int, tmp_path: Path) -> None:
    plain: Any = aq.dequantized(made(tmp_path, Tied, WORDS, bits).loaded)
    assert plain.out.weight is plain.embedding.weight
    assert len([*plain.parameters()]) == len([*Tied().parameters()])


def test_a_padding_row_that_is_zero_for_the_table_alone_unties(tmp_path: Path) -> None:
    """In 2 bits no code is zero: the table looks up zeros, and the linear layer reads codes."""
    both = made(tmp_path, lambda: Tied(padding=0), WORDS, bits=2)
    plain: Any = aq.dequantized(both.loaded)
    assert not plain.embedding.weight[0].any()
    assert plain.out.weight[0].any()
    assert_near(plain, both.loaded, WORDS)


def test_a_module_under_two_names_is_one(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = self.two = nn.GRU(5, 5)

        def forward(self, frames: Tensor) -> Tensor:
            return self.two(self.one(frames)[0])[0]

    both = made(tmp_path, Twice, FRAMES)
    plain: Any = aq.dequantized(both.loaded)
    assert plain.one is plain.two
    assert_near(plain, both.loaded, FRAMES)


# --- in other hands -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return made(tmp_path_factory.mktemp("spelled"), Tied, WORDS)


Way = Callable[[nn.Module], nn.Module]
WAYS: dict[str, Way] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "export": lambda model: torch.export.export(model, (WORDS,)).module(),
    "export in training mode": lambda model: torch.export.export(model.train(), (WORDS,)).module(),
}


@pytest.mark.filterwarnings(FLAT_WEIGHTS)
@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_copied_and_exported(way: str, spelled: Pair) -> None:
    assert_near(WAYS[way](aq.dequantized(spelled.loaded)), spelled.loaded, WORDS)


@pytest.mark.filterwarnings(FLAT_WEIGHTS)
def test_a_narrow_stack_can_be_exported(tmp_path: Path) -> None:
    both = made(tmp_path, lambda: toys.Stack(layers=2), FRAMES, rnn__l0=1.5)
    exported = torch.export.export(aq.dequantized(both.loaded), (FRAMES,), strict=False).module()
    assert_near(exported, both.loaded, FRAMES)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_of_a_copy_of_a_loaded_model(way: str, spelled: Pair) -> None:
    assert_near(aq.dequantized(WAYS[way](spelled.loaded)), spelled.loaded, WORDS)


def test_a_training_step_changes_it_alone(spelled: Pair) -> None:
    plain = aq.dequantized(spelled.loaded).train()
    with torch.no_grad():
        before = spelled.loaded(WORDS)
    plain(WORDS).square().mean().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters())
    torch.optim.SGD(plain.parameters(), lr=1.0).step()
    with torch.no_grad():
        assert torch.equal(spelled.loaded(WORDS), before)
        assert not torch.equal(plain(WORDS), before)


def test_no_random_numbers_are_drawn(spelled: Pair) -> None:
    before = torch.get_rng_state()
    aq.dequantized(spelled.loaded)
    assert torch.equal(torch.get_rng_state(), before)


def test_in_other_numbers(spelled: Pair) -> None:
    plain = aq.dequantized(copy.deepcopy(spelled.loaded).double())
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float64}


OTHERS: dict[str, tuple[Callable[[Pair], Any], str]] = {
    "float": (lambda both: both.build(), "a Tied"),
    "fake-quantized": (lambda both: both.fake, "a Tied"),
    "dequantized": (lambda both: aq.dequantized(both.loaded), "a Tied"),
    "a part": (lambda both: both.loaded.rnn, "a PackedGRU"),
    "a class": (lambda both: Tied, "<class"),
    "a text": (lambda both: "packed", "'packed'"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_models_are_refused(other: str, spelled: Pair) -> None:
    model, came = OTHERS[other]
    with pytest.raises(aq.UserError) as caught:
        aq.dequantized(model(spelled))
    assert str(caught.value).startswith(f"model must be what aq.load returned, got {came}")
    assert "\n" not in str(caught.value)
