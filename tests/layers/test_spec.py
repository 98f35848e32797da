import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoquant.kernels import Cell
from autoquant.layers import Axis, LayerSpec, ParameterSpec, grown_units, kind_of
from autoquant.layers.recurrent import RecurrentLayer


def described(module: nn.Module) -> LayerSpec:
    return kind_of(module).describe("layer", module)


def recurrent(kind: str, features: int, units: int, *, bidirectional: bool = False) -> LayerSpec:
    with torch.device("meta"):  # shapes without values
        layer = RecurrentLayer(Cell(kind), features, units, bidirectional=bidirectional, bias=True)
    return described(layer)


def linear(features: int, units: int) -> LayerSpec:
    return described(nn.Linear(features, units, device="meta"))


# --- growing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "width", "expected"),
    [(300, 1.0, 300), (300, 1.25, 376), (300, 1.5, 450), (300, 2.0, 600), (7, 1.5, 11), (1, 3, 3)],
)
def test_grown_units(units, width, expected):
    assert grown_units(units, width) == expected


@given(st.integers(1, 10**5), st.floats(1.0, 16.0))
def test_growth_is_even_and_near_what_was_asked(units, width):
    grown = grown_units(units, width)
    assert (grown - units) % 2 == 0
    assert grown >= units
    assert abs(grown - units * width) <= 1 + 1e-9 * units * width


def test_axes_follow_their_roles():
    axes = Axis("out", 12, 4), Axis("hidden", 3), Axis("in", 5), Axis("fixed", 2)
    parameter = ParameterSpec("weight", axes, "weight").resized(units=4, features=6)
    assert parameter.shape == (16, 4, 6, 2)
    assert parameter.count == 16 * 4 * 6 * 2
    assert [axis.copies for axis in parameter.axes] == [4, 1, 1, 1]


def test_a_projection_grows_before_cells_that_stay():
    with torch.device("meta"):
        layer = RecurrentLayer(Cell("lstm"), 4, 6, bidirectional=False, bias=True, projection=3)
    spec = described(layer)
    assert (spec.units, spec.features, spec.shape) == (3, 4, "4 -> 3")
    assert spec.macs() == 24 * 4 + 24 * 3 + 3 * 6
    grown = spec.resized(5, 8)
    assert {p.name: p.shape for p in grown.parameters} == {
        "weight_ih": (24, 8),
        "weight_hh": (24, 5),
        "bias": (24,),
        "weight_hr": (5, 6),
    }
    assert kind_of(layer).attributes(grown) == {"proj_size": 5, "input_size": 8}


def test_resizing_makes_a_new_value():
    before = linear(10, 20)
    after = before.resized(24, 12)
    assert [p.shape for p in before.parameters] == [(20, 10), (20,)]
    assert [p.shape for p in after.parameters] == [(24, 12), (24,)]
    assert (after.units, after.features, after.grown) == (24, 12, True)
    assert hash(after) != hash(before)


def test_only_more_units_count_as_grown():
    layer = linear(10, 20)
    assert not layer.resized(20, 14).grown
    assert layer.resized(22, 10).resized(22, 10).grown  # and stay so


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_a_resized_spec_is_that_of_a_layer_made_that_way(kind, bidirectional):
    resized = recurrent(kind, 5, 6, bidirectional=bidirectional).resized(8, 7)
    made = recurrent(kind, 7, 8, bidirectional=bidirectional)
    assert resized.parameters == made.parameters
    assert (resized.units, resized.features) == (made.units, made.features)
    assert resized.count == made.count


def test_shape_for_people():
    assert linear(300, 450).shape == "300 -> 450"
    assert recurrent("lstm", 4096, 2048, bidirectional=True).shape == "4096 -> 2 x 2048"


# --- counts of the paper's models ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedding", "hidden", "expected"),
    [
        (300, 300, 6_731_200),
        (450, 450, 10_631_800),
        (1000, 1000, 28_014_000),
        (300, 450, 8_861_800),  # only the LSTM grows
    ],
)
def test_parameters_of_the_treebank_model(embedding, hidden, expected):
    layers = [
        described(nn.Embedding(10_000, 300, device="meta")).resized(embedding, 10_000),
        recurrent("lstm", 300, 300).resized(hidden, embedding),
        linear(300, 10_000).resized(10_000, hidden),
    ]
    assert sum(layer.count for layer in layers) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(linear(494, 2048), 1_013_760, id="fc1"),
        pytest.param(linear(2048, 2048), 4_196_352, id="fc2"),
        pytest.param(linear(2048, 4096), 8_392_704, id="fc3"),
        pytest.param(recurrent("lstm", 4096, 2048, bidirectional=True), 100_679_680, id="bilstm"),
        pytest.param(linear(4096, 2048), 8_390_656, id="fc5"),
        pytest.param(linear(2048, 29), 59_421, id="fc6"),
    ],
)
def test_parameters_of_deep_speech(layer, expected):
    assert layer.count == expected


# --- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(linear(10, 20), 200, id="linear"),
        pytest.param(described(nn.Embedding(50, 8)), 0, id="embedding-looks-up"),
        pytest.param(recurrent("lstm", 5, 6), 4 * 6 * (5 + 6), id="lstm"),
        pytest.param(recurrent("gru", 5, 6), 3 * 6 * (5 + 6), id="gru"),
        pytest.param(
            recurrent("rnn_tanh", 5, 6, bidirectional=True), 2 * 6 * (5 + 6), id="both-directions"
        ),
    ],
)
def test_macs_count_weights_and_no_biases(layer, expected):
    assert layer.macs() == expected
    assert layer.macs(positions=7) == 7 * expected
