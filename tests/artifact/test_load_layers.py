"""From a file's tensors to a model: into any instance, and only where the numbers stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import autoquant
from autoquant.artifact import packed_file
from autoquant.errors import UserError
from autoquant.layers import layer_kind, registry
from autoquant.layers.linear import Linear
from autoquant.plan import LayerChoice
from autoquant.quantization.codes import encode
from autoquant.quantization.formats import IntegerFormat
from autoquant.runtime import PackedEmbedding, PackedLinear, PackedRecurrentLayer
from autoquant.settings import Scheme
from tests import toys
from tests.runtime.pairs import Pair, assert_equal, assert_same, equal_on, noise, pair, seeded

W4A8 = LayerChoice(4, 8)
CHOICES = {"w4 a8": W4A8, "w16 a8": LayerChoice(16, 8), "float": LayerChoice(32, 32)}
FLOAT32 = Scheme(scale_bits=32, bias_bits=32)


class Normed(nn.Module):
    """Layers, and what is none: a norm with its statistics, a gain, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.gain = nn.Parameter(torch.full((6,), 1.5))
        self.register_buffer("shift", torch.linspace(0, 1, 6, dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        values = self.norm(self.one(values).transpose(1, 2)).transpose(1, 2)
        return self.two(torch.relu(values * self.gain + self.shift.float()))


INPUTS = noise(6, 3, 5)
BUILDS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 6),
    "lstm": lambda: nn.LSTM(5, 6, 2, bidirectional=True),
    "gru": lambda: toys.Stack("GRU", 2),
    "projected": lambda: toys.Stack(projection=4),
    "deep speech": lambda: toys.DeepSpeech(5),
    "unquantized": Normed,
}


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


# --- on the meta device ---------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_an_instance_on_meta_is_enough(
    build: Callable[[], nn.Module], choice: LayerChoice, tmp_path: Path
) -> None:
    """Packed layers, those that stay float, and what is no layer: all have memory afterwards."""
    both = pair(tmp_path, build, choice, INPUTS)
    empty = on_meta(build)
    loaded = autoquant.load(both.path, empty)
    assert all(each.is_meta for each in empty.state_dict().values())
    held = [*loaded.parameters(), *loaded.buffers()]
    assert held
    assert {each.device.type for each in held} == {"cpu"}
    assert not any(each.requires_grad for each in held)
    assert not loaded.training
    assert_same(Pair(both.fake, loaded, both.path, build), noise(7, 2, 5, seed=3))


def test_a_model_of_words_on_meta(tmp_path: Path) -> None:
    words = toys.sentences()
    both = pair(tmp_path, toys.Tagger, W4A8, words)
    loaded = autoquant.load(both.path, on_meta(toys.Tagger))
    assert isinstance(loaded.embedding, PackedEmbedding)
    assert_same(Pair(both.fake, loaded, both.path, toys.Tagger), words)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_widened_model_on_meta(cell: str, tmp_path: Path) -> None:
    """Where units came from is known too: a state of the old width is taken."""

    def build() -> nn.Module:
        return toys.Stack(cell, 2)

    both = pair(tmp_path, build, W4A8, INPUTS, rnn__l0=2.0, rnn__l1=1.4)
    loaded = autoquant.load(both.path, on_meta(build))
    assert loaded.rnn.layers[0].unit_sources.device.type == "cpu"
    state = toys.stack_state(build(), 2)
    assert_same(Pair(both.fake, loaded, both.path, build), noise(7, 2, 5), state)


class Masked(nn.Module):
    """A buffer that no file has."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(5, 6)
        self.register_buffer("mask", torch.ones(6), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.one(values) * self.mask


def test_what_no_file_has_cannot_come_on_meta(tmp_path: Path) -> None:
    both = pair(tmp_path, Masked, W4A8, INPUTS)
    assert_same(both, INPUTS)
    with pytest.raises(UserError, match="must have mask in its state_dict"):
        autoquant.load(both.path, on_meta(Masked))


def test_another_model_on_meta_is_refused(tmp_path: Path) -> None:
    both = pair(tmp_path, lambda: toys.Stack(), W4A8, INPUTS)
    with pytest.raises(UserError, match="is of another model"):
        autoquant.load(both.path, on_meta(lambda: toys.Stack(hidden=7)))


class Loop(nn.Module):
    """A cell in the user's own time loop."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = getattr(nn, cell)(5, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, values: Tensor, state: Any = None) -> Tensor:
        for step in values:
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("meta", [False, True], ids=["float", "meta"])
def test_a_widened_cell_takes_a_state_of_the_old_width(
    meta: bool, cell: str, tmp_path: Path
) -> None:
    """A cell is decoded into its module: it too gets where its units came from."""

    def build() -> nn.Module:
        return Loop(cell)

    both = pair(tmp_path, build, W4A8, INPUTS, cell=2.0)
    loaded = autoquant.load(both.path, on_meta(build)) if meta else both.loaded
    h = noise(3, 4, seed=5)
    state = (h, h) if cell == "LSTMCell" else h
    assert_same(Pair(both.fake, loaded, both.path, build), INPUTS, state)


# --- any other instance ---------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_the_instance_that_was_given_stays_as_it_is(
    build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    both = pair(tmp_path, build, W4A8, INPUTS)
    given_ = seeded(build, 5)().train()
    before = {name: tensor.clone() for name, tensor in given_.state_dict().items()}
    classes = [type(each) for each in given_.modules()]
    loaded = autoquant.load(both.path, given_)
    loaded(INPUTS)
    assert given_.training
    assert [type(each) for each in given_.modules()] == classes
    assert_equal(list(given_.state_dict().values()), list(before.values()))


def test_nothing_is_shared_with_the_instance(tmp_path: Path) -> None:
    both = pair(tmp_path, Normed, W4A8, INPUTS)
    given_ = Normed()
    loaded = autoquant.load(both.path, given_)
    with torch.no_grad():
        for tensor in given_.state_dict().values():
            tensor.fill_(7)
    assert_same(Pair(both.fake, loaded, both.path, Normed), INPUTS)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("name", ["linear", "lstm", "deep speech"])
def test_an_instance_of_doubles_gives_a_model_of_doubles(
    name: str, choice: LayerChoice, tmp_path: Path
) -> None:
    both = pair(tmp_path, BUILDS[name], choice, INPUTS)
    loaded = autoquant.load(both.path, BUILDS[name]().double())
    ours = toys.output_of(loaded, INPUTS.double())
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours.float(), toys.output_of(both.loaded, INPUTS), rtol=0, atol=0.02)


# --- the file -------------------------------------------------------------------------------------

STORED_AS = {
    "codes": W4A8,
    "floats": LayerChoice(32, 8),
    "both": LayerChoice(4, 8, recurrent_bits=32),
}


def overwrite(path: Path) -> None:
    """In place: a new file would leave the mapped one alone."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)
    assert path.read_bytes() == b"\xff" * size


@pytest.mark.parametrize("choice", STORED_AS.values(), ids=STORED_AS)
@pytest.mark.parametrize("name", ["linear", "lstm", "unquantized"])
@pytest.mark.parametrize("meta", [False, True], ids=["float", "meta"])
def test_the_file_may_change_afterwards(
    meta: bool, name: str, choice: LayerChoice, tmp_path: Path
) -> None:
    """Its tensors are the file itself, mapped into memory: what is kept must be a copy."""
    build = BUILDS[name]
    both = pair(tmp_path, build, choice, INPUTS, FLOAT32)
    loaded = autoquant.load(both.path, on_meta(build) if meta else build())
    overwrite(both.path)
    assert_same(Pair(both.fake, loaded, both.path, build), INPUTS)


def test_the_file_of_a_widened_model_may_change(tmp_path: Path) -> None:
    """Where its units came from is kept as well."""
    both = pair(tmp_path, lambda: toys.Stack("GRU"), W4A8, INPUTS, rnn__l0=2.0)
    state = toys.stack_state(both.build(), 3)
    overwrite(both.path)
    assert_same(both, INPUTS, state)


# --- which layers are packed ----------------------------------------------------------------------


def kinds(model: nn.Module) -> dict[str, type[nn.Module]]:
    return {name: type(each) for name, each in model.named_modules()}


def test_what_is_packed(tmp_path: Path) -> None:
    loaded = pair(tmp_path, toys.Tagger, W4A8, toys.sentences()).loaded
    found = kinds(loaded)
    assert found["embedding"] is PackedEmbedding
    assert found["rnn.l0"] is PackedRecurrentLayer
    assert found["tag"] is PackedLinear


def test_the_whole_model_may_be_one_layer(tmp_path: Path) -> None:
    assert isinstance(pair(tmp_path, BUILDS["linear"], W4A8, INPUTS).loaded, PackedLinear)


class Halved(nn.Linear):
    """Known by a layer kind of its own; computes something else than its base."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight, self.bias) / 2


@pytest.fixture
def halved() -> Iterator[Callable[[], nn.Module]]:
    class HalvedKind(Linear):
        name = "halved"

    layer_kind(Halved)(HalvedKind)
    yield lambda: nn.Sequential(Halved(5, 6), nn.Linear(6, 3))
    del registry._KINDS[Halved]


@pytest.mark.parametrize("meta", [False, True], ids=["float", "meta"])
def test_a_layer_kind_of_ones_own_is_decoded_into_its_module(
    meta: bool, halved: Callable[[], nn.Module], tmp_path: Path
) -> None:
    both = pair(tmp_path, halved, W4A8, INPUTS)
    loaded = autoquant.load(both.path, on_meta(halved)) if meta else both.loaded
    assert [*kinds(loaded).values()][1] is Halved
    assert isinstance(loaded[1], PackedLinear)
    assert torch.equal(loaded[0].weight, both.fake[0].weight)
    assert_same(Pair(both.fake, loaded, both.path, halved), INPUTS)


def doubled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


def negated(module: nn.Module, args: Any) -> Any:
    return (-args[0],)


@pytest.mark.parametrize("meta", [False, True], ids=["float", "meta"])
@pytest.mark.parametrize("before", [False, True], ids=["behind", "before"])
def test_a_layers_hooks_still_run(before: bool, meta: bool, tmp_path: Path) -> None:
    """User code hung them on the module that a packed layer would replace."""

    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
        if before:
            model[0].register_forward_pre_hook(negated)
        else:
            model[0].register_forward_hook(doubled)
        return model

    both = pair(tmp_path, build, W4A8, INPUTS)
    loaded = autoquant.load(both.path, on_meta(build)) if meta else both.loaded
    assert not isinstance(loaded[0], PackedLinear)
    assert isinstance(loaded[1], PackedLinear)
    with torch.no_grad():  # the fake-quantized product is one of integers, this one of floats
        torch.testing.assert_close(loaded(INPUTS), both.fake(INPUTS), rtol=0, atol=1e-5)


# --- values ---------------------------------------------------------------------------------------


def test_values_that_stand_on_the_grid_come_back(tmp_path: Path) -> None:
    """What training rounded, saving encodes and loading decodes: the same codes all the way."""
    both = pair(tmp_path, lambda: nn.Linear(37, 21), LayerChoice(5, 8), noise(6, 3, 37))
    packed = both.loaded.packed
    codes = encode(both.fake.weight.detach(), packed.scale, packed.grid)
    assert torch.equal(codes.to(torch.int8), packed.codes())
    _, tensors = packed_file.read(both.path)
    parts = {suffix: tensors[f"weight{suffix}"] for suffix in (".codes", ".scale")}
    stored = IntegerFormat(5).load(parts, (21, 37)).values()
    assert torch.equal(stored, both.loaded.weight)


def test_quantizers_are_restored(tmp_path: Path) -> None:
    """Grid and step size, exactly; none of them observes."""
    both = pair(tmp_path, BUILDS["deep speech"], LayerChoice(4, 5, hidden_bits=7), INPUTS)
    names = [name for name, _ in both.fake.named_modules() if name.endswith("_quantizer")]
    assert len(names) == 7
    for name in names:
        ours, theirs = both.loaded.get_submodule(name), both.fake.get_submodule(name)
        assert (ours.bits, ours.grid) == (theirs.bits, theirs.grid)
        assert torch.equal(ours.log_scale, theirs.log_scale)
        assert ours.observed is None
    equal_on(both, INPUTS)
