"""The options of the next-word model: each by itself, all at once, and down to the packed file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.stack import Recurrent
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.tasks.language_model import LanguageModel
from tests.families.cycle import Cycle

WORDS = 15
BIT_RNN = {"candidate": "sigmoid", "rectified": True, "initial": 0.5, "initializer": "fan_in"}
CELLS = pytest.mark.parametrize("cell", ["lstm", "gru"])
SCHEMES = pytest.mark.parametrize("scheme", [Scheme(), Scheme.bit_rnn()], ids=["lsq", "bit-rnn"])


def model_of(cell: str = "lstm", layers: int = 1, **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(WORDS, 6, 8, layers, 0.0, cell, **options)


def tokens(steps: int = 7, batch: int = 3) -> Tensor:
    return torch.randint(WORDS, (steps, batch), generator=torch.Generator().manual_seed(0))


# --- each option ----------------------------------------------------------------------------------


@CELLS
def test_the_plain_model_is_torch_s(cell: str) -> None:
    assert type(model_of(cell).rnn) is {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    assert model_of(cell).projection is None


def test_a_plain_model_draws_its_weights_layer_by_layer() -> None:
    """So that what a seed gives does not depend on options that are not taken."""
    model = model_of()
    torch.manual_seed(0)
    embedding = nn.Embedding(WORDS, 6)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    rnn, decoder = nn.LSTM(6, 8), nn.Linear(8, WORDS)
    nn.init.uniform_(decoder.weight, -0.1, 0.1)
    assert torch.equal(model.embedding.weight, embedding.weight)
    assert torch.equal(model.rnn.weight_hh_l0, rnn.weight_hh_l0)
    assert torch.equal(model.decoder.weight, decoder.weight)


@CELLS
def test_a_start_elsewhere_is_a_state_that_torch_could_be_given(cell: str) -> None:
    model, plain = model_of(cell, 2, initial=0.5), model_of(cell, 2)
    plain.rnn = model.rnn
    half = torch.full((2, 3, 8), 0.5)
    logits, _ = model(tokens())
    given, _ = model(tokens(), (half, half) if cell == "lstm" else half)
    assert torch.equal(logits, given)
    zero = torch.zeros(2, 3, 8)
    assert not torch.equal(logits, model(tokens(), (zero, zero) if cell == "lstm" else zero)[0])


def test_a_rectified_embedding_feeds_nothing_negative() -> None:
    for rectified in (False, True):
        model, seen = model_of(rectified=rectified), []
        model.rnn.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        model(tokens())
        expected = model.embedding(tokens())
        assert torch.equal(seen[0], expected.relu() if rectified else expected)


@CELLS
def test_a_sigmoid_cell_keeps_its_state_between_0_and_1(cell: str) -> None:
    model = model_of(cell, 2, candidate="sigmoid", initial=0.5)
    assert isinstance(model.rnn, Recurrent)
    assert [layer.cell.candidate for layer in model.rnn.layers] == ["sigmoid"] * 2
    outputs, _ = model.rnn(torch.randn(9, 3, 6))
    assert bool(((outputs > 0) & (outputs < 1)).all())


def test_a_projection_stands_before_the_decoder() -> None:
    model = model_of(projection=4)
    assert isinstance(model.projection, IntegerLinear)
    assert (model.projection.in_features, model.projection.out_features) == (8, 4)
    assert model.decoder.in_features == 4
    outputs, _ = model.rnn(model.embedding(tokens()))
    expected = outputs @ model.projection.weight.T + model.projection.bias
    expected = expected @ model.decoder.weight.T + model.decoder.bias
    torch.testing.assert_close(model(tokens())[0], expected)
    some = torch.tensor([3, 1])
    torch.testing.assert_close(model(tokens(), words=some)[0], expected[..., some])


@pytest.mark.parametrize("candidate", ["tanh", "sigmoid"])
@CELLS
def test_fan_in(cell: str, candidate: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"candidate": candidate, "initializer": "fan_in", "projection": 30}
    model = LanguageModel(200, 40, 60, 2, 0.0, cell, **options)
    embedding = model.embedding.weight.detach()
    assert 0 <= float(embedding.min()) < 0.01
    assert 0.99 < float(embedding.max()) <= 1
    reads = {"rnn.l0": 40 + 60, "rnn.l1": 60 + 60, "projection": 60, "decoder": 30}
    biases = {}
    for name, parameter in model.named_parameters():
        layer, own = name.rsplit(".", 1)
        if parameter.ndim == 1:
            biases[name] = parameter.detach()
        elif layer != "embedding":
            bound = math.sqrt(3 / reads[layer])
            assert 0.98 * bound < float(parameter.detach().abs().max()) <= bound, name
            assert own.startswith(("weight", "candidate"))
    ones = {name: bias.nonzero().reshape(-1).tolist() for name, bias in biases.items()}
    opened = [] if cell == "lstm" and candidate == "sigmoid" else [*range(60, 120)]
    opened = [*range(120)] if cell == "gru" else opened
    for name, where in ones.items():
        assert where == (opened if name in ("rnn.l0.bias", "rnn.l1.bias") else []), name
        assert bool((biases[name][where] == 1).all())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"cell": "rnn"}, "cell must be one of lstm, gru, got 'rnn'"),
        ({"cell": ["lstm"]}, r"cell must be one of lstm, gru, got \['lstm'\]"),
        ({"candidate": "relu"}, "candidate must be one of tanh, sigmoid, got 'relu'"),
        ({"initializer": None}, "initializer must be one of uniform, fan_in, got None"),
        ({"rectified": 1}, "rectified must be true or false, got 1"),
        ({"initial": 2}, r"initial must be in \[0, 1\], got 2"),
        ({"initial": -0.5}, r"initial must be in \[0, 1\], got -0.5"),
        ({"initial": math.nan}, r"initial must be in \[0, 1\], got nan"),
        ({"initial": True}, r"initial must be in \[0, 1\], got True"),
        ({"projection": -1}, "projection must be a whole number from 0 up, got -1"),
        ({"projection": 4.0}, "projection must be a whole number from 0 up, got 4.0"),
        ({"hidden": 0}, "hidden must be a whole number from 1 up, got 0"),
    ],
    ids=str,
)
def test_refuses(option: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}$"):
        LanguageModel(WORDS, **option)


# --- the whole way --------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "all": BIT_RNN,
    "all, projected": BIT_RNN | {"projection": 4},
    "sigmoid": {"candidate": "sigmoid"},
    "start": {"initial": 0.5},
    "rectified": {"rectified": True},
    "fan-in": {"initializer": "fan_in"},
    "projected": {"projection": 4},
}


def cycle_of(cell: str, scheme: Scheme, layers: int = 2, **options: Any) -> Cycle:
    return Cycle(lambda: model_of(cell, layers, **options), (tokens(),), scheme)


@pytest.mark.parametrize("method", ["split", "fresh"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@SCHEMES
@CELLS
def test_grows_packs_and_loads(
    cell: str, scheme: Scheme, options: dict[str, Any], method: str, tmp_path: Path
) -> None:
    """With another width for each layer, and mixed bits."""
    cycle = cycle_of(cell, scheme, **options)
    cycle.check_prepared()
    layers = ["embedding", "rnn.l0", "rnn.l1", *["projection"] * ("projection" in options)]
    assert cycle.free == layers
    widths = dict(zip(layers, (1.0, 1.5, 2.0, 1.5), strict=False))
    cycle.check_packed(cycle.mixed(widths, seed=1), tmp_path, method)


@pytest.mark.parametrize("width", [1.0, 1.5], ids="x{}".format)
@pytest.mark.parametrize("bits", [2, 4, 8], ids="{} bits".format)
@SCHEMES
@CELLS
def test_the_model_of_bit_rnn_at_low_bits(
    cell: str, scheme: Scheme, bits: int, width: float, tmp_path: Path
) -> None:
    cycle = cycle_of(cell, scheme, 1, **BIT_RNN)
    plan = Plan.uniform(cycle.network.names, LayerChoice(bits, bits))
    plan = plan.with_choice("embedding", weight_bits=32).with_choice("rnn.l0", width=width)
    cycle.check_packed(plan, tmp_path)
