import json
import math

import pytest

from autoquant.errors import UserError
from autoquant.figures.sensitivity import (
    DECADES,
    SensitivityData,
    draw_sensitivity,
    sensitivity_data,
)
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
    assert [name for name, _ in data.rows] == ["encoder", "rnn.l0", "rnn.l0, recurrent", "decoder"]
    assert data.rows[0][1] == (0.5, 0.1, 0.02, None)
    assert data.rows[3][1] == (None, None, None, 0.0001)


def test_the_chosen_plan_is_marked(recorded):
    data = sensitivity_data(recorded, TRIALS[1])
    assert data.plan == "trial 1"
    assert data.chosen == (2, 1, 0, None)  # the decoder's 16 bits are not in the table
    assert sensitivity_data(recorded, None).chosen == (None,) * 4


def test_every_increase_is_printed(recorded):
    figure = draw_sensitivity(sensitivity_data(recorded, TRIALS[1]))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        *("0.5", "0.1", "0.02"),
        *("nan", "0.2", "<0.001"),
        *("0.9", "0.3", "0.04"),
        "<0.001",
    ]
    assert len(axes.patches) == 3
    assert figure.get_suptitle().endswith("framed: trial 1")


def test_larger_increases_are_darker():
    bits = tuple(float(count) for count in range(1, 5))
    data = SensitivityData(bits, (("a", (1.0, 0.1, 0.001, 0.1**DECADES / 9)),), (None,))
    image = draw_sensitivity(data).axes[0].images[0].get_array()
    brightness = [sum(image[0, k, :3]) for k in range(4)]
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]


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
