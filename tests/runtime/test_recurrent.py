"""PackedRecurrentLayer: the outputs and states of the fake-quantized stack, however it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.runtime import PackedRecurrentLayer
from autoquant.settings import Scheme
from tests import toys
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import (
    ACTIVATION_BITS,
    CHOSEN_BITS,
    SCHEMES,
    Pair,
    assert_same,
    equal_on,
    noise,
    pair,
)

FEATURES, UNITS = 5, 11
CELLS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "rnn": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}
STACKS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both ways": {"bidirectional": True},
    "three layers both ways": {"num_layers": 3, "bidirectional": True},
    "no bias": {"bias": False, "bidirectional": True},
    "batch first": {"batch_first": True},
    "dropout": {"num_layers": 2, "dropout": 0.5},
}
PROJECTED: dict[str, dict[str, Any]] = {
    "projected": {"proj_size": 3},
    "projected stack both ways": {"proj_size": 3, "num_layers": 2, "bidirectional": True},
    "projected, no bias": {"proj_size": 7, "bias": False},
}
W4A8 = LayerChoice(4, 8)


def recurrent(
    folder: Path,
    cell: str,
    choice: LayerChoice = W4A8,
    features: int = FEATURES,
    units: int = UNITS,
    scheme: Scheme | None = None,
    **options: Any,
) -> Pair:
    kind, more = CELLS[cell]

    def build() -> nn.Module:
        return kind(features, units, **(more | options))

    return pair(folder, build, choice, noise(7, 3, features), scheme)


def state_for(stack: Any, *batch: int, seed: int = 5) -> Any:
    """A random state: (h, c) of an LSTM, else h."""
    rows = stack.num_layers * (2 if stack.bidirectional else 1)
    widths = [stack.proj_size or stack.hidden_size]
    widths += [stack.hidden_size] if stack._lstm else []
    parts = tuple(noise(rows, *batch, width, seed=seed + i) for i, width in enumerate(widths))
    return parts if stack._lstm else parts[0]


def packed(*lengths: int, features: int = FEATURES) -> PackedSequence:
    sequences = [noise(length, features, seed=20 + i) for i, length in enumerate(lengths)]
    return pack_sequence(sequences, enforce_sorted=False)


# --- bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATION_BITS, ids="a{}".format)
@pytest.mark.parametrize("weight", CHOSEN_BITS, ids="w{}".format)
def test_every_number_of_bits(weight: float, activation: int, tmp_path: Path) -> None:
    both = recurrent(tmp_path, "lstm", LayerChoice(weight, activation))
    assert_same(both, noise(4, 2, FEATURES, seed=2) * 2)


@pytest.mark.parametrize("activation", [2, 8, 16, 32], ids="a{}".format)
@pytest.mark.parametrize("weight", [1, 3, 8], ids="w{}".format)
@pytest.mark.parametrize("cell", ["gru", "rnn", "relu"])
def test_every_cell(cell: str, weight: float, activation: int, tmp_path: Path) -> None:
    both = recurrent(tmp_path, cell, LayerChoice(weight, activation), bidirectional=True)
    assert_same(both, noise(4, 2, FEATURES, seed=2) * 2)


MIXED = {
    "recurrent weight float": LayerChoice(4, 8, recurrent_bits=32),
    "recurrent weight half": LayerChoice(4, 8, recurrent_bits=16),
    "recurrent weight of other bits": LayerChoice(3, 8, recurrent_bits=7),
    "input weight float": LayerChoice(32, 8, recurrent_bits=4),
    "hidden state float": LayerChoice(4, 8, hidden_bits=32),
    "hidden state half": LayerChoice(4, 8, hidden_bits=16),
    "hidden state of other bits": LayerChoice(4, 4, hidden_bits=7),
    "input float": LayerChoice(4, 32, hidden_bits=8),
    "input half": LayerChoice(4, 16, hidden_bits=8),
    "weights float": LayerChoice(32, 8),
    "activations float": LayerChoice(4, 32),
    "all float": LayerChoice(32, 32),
    "half of each": LayerChoice(4, 32, recurrent_bits=32, hidden_bits=4),
    "the other half": LayerChoice(32, 4, recurrent_bits=4, hidden_bits=32),
}


@pytest.mark.parametrize("choice", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("cell", CELLS)
def test_mixed_bits(cell: str, choice: LayerChoice, tmp_path: Path) -> None:
    """Long and wide: a sum in another order would show, in c or in the code of some h."""
    both = recurrent(tmp_path, cell, choice, 45, 50)
    for seed in (2, 3):
        assert_same(both, noise(30, 6, 45, seed=seed))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("weight", [1, 2, 4, 8], ids="w{}".format)
def test_every_scheme(weight: float, scheme: str, tmp_path: Path) -> None:
    both = recurrent(tmp_path, "lstm", LayerChoice(weight, 8), scheme=SCHEMES[scheme])
    assert_same(both, noise(4, 2, FEATURES, seed=2))


@NEEDS_KERNELS
@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("weight", [1, 3, 5, 8], ids="w{}".format)
@pytest.mark.parametrize("cell", CELLS)
def test_at_8_bits_and_fewer_all_products_are_of_integers(
    cell: str, weight: float, tmp_path: Path
) -> None:
    both = recurrent(tmp_path, cell, LayerChoice(weight, 8), bidirectional=True)
    assert_same(both, noise(4, 2, FEATURES))
    assert_same(both, packed(3, 1, 4))


# --- how it is built ------------------------------------------------------------------------------

BUILDS = [(cell, name) for cell in CELLS for name in STACKS] + [
    ("lstm", each) for each in PROJECTED
]


@pytest.fixture(params=BUILDS, ids="{0[0]}, {0[1]}".format, scope="module")
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    cell, name = request.param
    return recurrent(tmp_path_factory.mktemp("both"), cell, **(STACKS | PROJECTED)[name])


def test_padded_and_unbatched_inputs(both: Pair) -> None:
    assert all(isinstance(layer, PackedRecurrentLayer) for layer in both.loaded.layers)
    assert_same(both, noise(6, 2, FEATURES))
    assert_same(both, noise(1, 1, FEATURES))
    assert_same(both, noise(6, FEATURES))


def test_initial_states(both: Pair) -> None:
    lead = (2, 6) if both.loaded.batch_first else (6, 2)
    assert_same(both, noise(*lead, FEATURES), state_for(both.fake, 2))
    assert_same(both, noise(6, FEATURES), state_for(both.fake))


def test_packed_sequences(both: Pair) -> None:
    """Sorted or not, with states that are in the caller's order."""
    for lengths in [(5, 3, 1), (1, 4, 4, 2), (3,), (2, 2)]:
        assert_same(both, packed(*lengths))
        assert_same(both, packed(*lengths), state_for(both.fake, len(lengths)))


@pytest.mark.parametrize("batch", [1, 2, 23, 24, 25, 49])
@pytest.mark.parametrize("cell", CELLS)
def test_batches_about_the_kernels_groups(cell: str, batch: int, tmp_path: Path) -> None:
    both = recurrent(tmp_path, cell)
    assert_same(both, noise(3, batch, FEATURES))


SIZES = [(1, 1), (32, 16), (33, 17), (31, 32), (64, 65), (5, 300)]


@pytest.mark.parametrize(("features", "units"), SIZES, ids="{}".format)
@pytest.mark.parametrize("weight", [3, 8], ids="w{}".format)
@pytest.mark.parametrize("cell", CELLS)
def test_odd_widths(cell: str, weight: float, features: int, units: int, tmp_path: Path) -> None:
    both = recurrent(tmp_path, cell, LayerChoice(weight, 8), features, units)
    equal_on(both, noise(4, 2, features))


@pytest.mark.parametrize("state", [False, True], ids=["zeros", "given"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_widened_layers(cell: str, state: bool, tmp_path: Path) -> None:
    """Widths of their own; a state as it was before widening, too."""

    def build() -> nn.Module:
        return toys.Stack(cell, 2, bidirectional=True)

    widths = {"rnn__l0": 2.0, "rnn__l1": 1.4, "front": 1.5}
    both = pair(tmp_path, build, W4A8, noise(6, 3, 5), **widths)
    first, second = both.loaded.rnn.layers
    assert (first.units, second.units) == (12, 8)
    given = toys.stack_state(both.build(), 2) if state else None
    assert_same(both, noise(4, 2, 5), given)


@pytest.mark.parametrize("cells", [5, 6, 9])
def test_widened_projections(cells: int, tmp_path: Path) -> None:
    """From 4 to 6 units: more than there are cells, as many, and fewer."""

    def build() -> nn.Module:
        return toys.Stack(projection=4, hidden=cells)

    both = pair(tmp_path, build, W4A8, noise(6, 3, 5), rnn__l0=1.5)
    assert both.loaded.rnn.layers[0].units == 6
    assert_same(both, noise(4, 2, 5), toys.stack_state(both.build(), 2))


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """What ``recurrent`` takes."""
    cell, units = draw(st.sampled_from([*CELLS])), draw(st.integers(2, 40))
    weight, activation = st.sampled_from([1, 1.6, 2, 3, 5, 8, 32]), st.integers(2, 8)
    choice = st.builds(
        LayerChoice, weight, activation, recurrent_bits=weight, hidden_bits=activation
    )
    fixed = {"cell": cell, "units": units, "features": draw(st.integers(1, 40))}
    built = {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans())}
    if cell == "lstm" and draw(st.booleans()):
        built["proj_size"] = draw(st.integers(1, units - 1))
    return fixed | built | {"choice": draw(choice)}


@settings(max_examples=25)
@given(options=stacks(), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_any_stack(
    options: dict[str, Any], lengths: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    both = recurrent(tmp_path_factory.mktemp("any"), **options)
    inputs = packed(*lengths, features=options["features"])
    equal_on(both, inputs, state_for(both.fake, len(lengths)))


# --- what is refused, what is read ----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 2, FEATURES + 1), (FEATURES,), (1, 2, 3, FEATURES)], ids=str)
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    both = recurrent(tmp_path, "lstm")
    with pytest.raises(UserError, match="recurrent inputs must be"):
        both.loaded(noise(*shape))


@pytest.mark.parametrize("steps", [0, 3])
def test_nothing_to_run_is_as_before(steps: int, tmp_path: Path) -> None:
    """No steps are refused, no sequences are none."""
    both = recurrent(tmp_path, "lstm")
    inputs = noise(steps, 2 if not steps else 0, FEATURES)
    for model in (both.fake, both.loaded):
        if steps:
            assert model(inputs)[0].shape == (3, 0, UNITS)
        else:
            with pytest.raises(UserError, match="at least one step"):
                model(inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_by_their_names(cell: str, tmp_path: Path) -> None:
    """As attributes: the values of the fake-quantized parameters, and no others."""
    both = recurrent(tmp_path, cell, bidirectional=True)
    here, there = both.loaded.layers[0], both.fake.layers[0]
    names = ["weight_ih", "weight_hh", "bias", *["bias_hn"] * (cell == "gru")]
    for name in (each + suffix for each in names for suffix in ("", "_reverse")):
        assert torch.equal(getattr(here, name), getattr(there, name)), name
    for name in ("weight_hr", "weight_ih_l0", "anything"):
        assert not hasattr(here, name)


def test_the_last_state_is_memory_of_its_own(tmp_path: Path) -> None:
    """A caller may change it, or the state that was given, and nothing else changes."""
    both = recurrent(tmp_path, "lstm")
    inputs, state = noise(4, 2, FEATURES), state_for(both.fake, 2)
    before = [part.clone() for part in state]
    outputs, (hidden, _) = both.loaded(inputs, state)
    assert all(map(torch.equal, state, before))
    kept: Tensor = outputs.clone()
    hidden.fill_(9)
    assert torch.equal(outputs, kept)
