import json
import math

import pytest

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.errors import UserError
from autoquant.figures.sensitivity import (
    DECADES,
    MOST_DIMENSIONS,
    SensitivityData,
    SensitivityRow,
    draw_sensitivity,
    sensitivity_data,
)
from autoquant.plan import LayerChoice, Plan
from tests.figures.samples import TRIALS

INCREASES = {
    "encoder.weight_bits": {"2.0": 0.5, "3.0": 0.1, "4.0": 0.02},
    "rnn.l0.weight_bits": {"2.0": math.inf, "3.0": 0.2, "4.0": 0.0},
    "rnn.l0.recurrent_bits": {"2.0": 0.9, "3.0": 0.3, "4.0": 0.04},
    "decoder.weight_bits": {"8.0": 0.0001},
}


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "sensitivity.json"
    path.write_text(json.dumps({"loss_increases": INCREASES}))
    return path


def test_increases_are_a_table_of_layers_and_bits(recorded):
    data = sensitivity_data(recorded, TRIALS[1])
    assert data.bits == (2.0, 3.0, 4.0, 8.0)
    assert [row.name for row in data.rows] == ["encoder", "rnn.l0", "rnn.l0, recurrent", "decoder"]
    assert data.rows[0].increases == (0.5, 0.1, 0.02, None)
    assert data.rows[3].increases == (None, None, None, 0.0001)


def test_the_chosen_plan_is_marked(recorded):
    data = sensitivity_data(recorded, TRIALS[1])
    assert data.plan == "trial 1"
    chosen = [row.chosen for row in data.rows]
    assert chosen == [2, 1, 0, None]  # the decoder's 16 bits are not in the table
    assert {row.chosen for row in sensitivity_data(recorded, None).rows} == {None}


def test_every_increase_is_printed(recorded):
    figure = draw_sensitivity(sensitivity_data(recorded, TRIALS[1]))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        *("0.500", "0.100", "0.020"),
        *("nan", "0.200", "<0.001"),
        *("0.900", "0.300", "0.040"),
        "<0.001",
    ]
    assert len(axes.patches) == 3
    assert figure.get_suptitle().endswith("framed: trial 1")


def test_larger_increases_are_darker():
    bits = tuple(float(count) for count in range(1, 5))
    row = SensitivityRow("a", (1.0, 0.1, 0.001, 0.1**DECADES / 9), (None,) * 4)
    data = SensitivityData(bits, (row,))
    image = draw_sensitivity(data).axes[0].images[0].get_array()
    brightness = [sum(image[0, k, :3]) for k in range(4)]
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]


def measured_in(layers):
    """The sensitivity of layers of which the later ones lose more with 8-bit inputs."""
    increases = {}
    for k in range(layers):
        increases[f"l{k}.weight_bits"] = {2.0: 0.5, 4.0: 0.001}
        increases[f"l{k}.activation_bits"] = {8.0: 0.01 * k, 16.0: 0.0001}
    deviations = {name: dict.fromkeys(values, 0.004) for name, values in increases.items()}
    reference = Plan.uniform([f"l{k}" for k in range(layers)], LayerChoice(4, 8))
    return Sensitivity(increases, deviations, reference)


def test_an_increase_within_two_errors_is_noise(tmp_path):
    path = tmp_path / "sensitivity.json"
    path.write_text(measured_in(3).to_json())
    data = sensitivity_data(path, None)
    assert [row.name for row in data.rows][:2] == ["l0", "l0, input"]
    assert data.rows[0].texts == ("0.500 ±0.004", "noise", "", "")
    assert data.rows[5].texts == ("", "", "0.020 ±0.004", "noise")
    axes = draw_sensitivity(data).axes[0]
    assert axes.get_xlabel() == "bits, all others with the bits of an even plan"


def test_of_100_layers_those_with_the_largest_increases_in_the_reference(tmp_path):
    path = tmp_path / "sensitivity.json"
    path.write_text(measured_in(100).to_json())
    data = sensitivity_data(path, None)
    *listed, rest = data.rows
    assert [row.name for row in listed] == [f"l{k}, input" for k in range(80, 100)]
    assert len(listed) == MOST_DIMENSIONS
    assert rest.name == "sum of 180 others"
    assert rest.increases == pytest.approx((50, 0.1, 0.01 * sum(range(80)), 0.008))
    assert rest.errors == pytest.approx((0.04, 0.04, 0.004 * 80**0.5, 0.004 * 80**0.5))
    assert draw_sensitivity(data).get_size_inches()[1] < 10


def test_nothing_recorded_and_nothing_measured(tmp_path):
    path = tmp_path / "sensitivity.json"
    assert sensitivity_data(path, None) is None
    path.write_text('{"loss_increases": {}}')
    assert sensitivity_data(path, None) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"loss_increases": {"a": {}}}', '{"rises": {"a.b": {}}}']
)
def test_a_file_that_no_search_wrote(text, tmp_path):
    path = tmp_path / "sensitivity.json"
    path.write_text(text)
    with pytest.raises(UserError, match="must be as a search wrote it"):
        sensitivity_data(path, None)
