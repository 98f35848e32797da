"""The record of the loss increases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan

NEVER_WRITTEN = (
    *("", "[]", "{}", '{"loss_increases": 3}', '{"loss_increases": {"a": {}}}'),
    *('{"loss_increases": {"a.width": {}}}', '{"loss_increases": {"a.weight_bits": {"2": "x"}}}'),
    *('{"rises": 3}', '{"rises": {"a": {}}}', '{"rises": {"a.width": {}}}'),
    '{"rises": {"a.weight_bits": {"2": "x"}}}',
    *('{"loss_increases": {}, "deviations": 3}', '{"loss_increases": {}, "reference": {"a": 3}}'),
    '{"loss_increases": {"a.weight_bits": {"2": 1}}, "deviations": {"a.weight_bits": {"3": 1}}}',
)


@pytest.mark.parametrize("text", NEVER_WRITTEN)
def test_a_file_that_no_search_wrote(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    path.write_text(text)
    with pytest.raises(UserError, match="must be as a search wrote it"):
        Sensitivity.read(path)


def test_all_that_was_measured_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    increases = {"a.weight_bits": {1.6: 0.5}, "a.hidden_bits": {4.0: 0.1, 8.0: 0.0}}
    deviations = {"a.weight_bits": {1.6: 0.2}, "a.hidden_bits": {4.0: 0.1, 8.0: 0.01}}
    given = Sensitivity(increases, deviations, Plan({"a": LayerChoice(2, 8, recurrent_bits=3)}))
    path.write_text(given.to_json())
    assert Sensitivity.read(path) == given


def test_infinite_loss_increases_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    given = Sensitivity({"a.weight_bits": {1.6: math.inf, 2.0: 0.5}})
    path.write_text(given.to_json())
    assert Sensitivity.read(path) == given
    assert json.loads(path.read_text())["loss_increases"]["a.weight_bits"] == {
        "1.6": math.inf,
        "2.0": 0.5,
    }


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    path.write_text('{"rises": {"a.weight_bits": {"1.6": 0.75, "2": 0.5}}}')
    assert Sensitivity.read(path) == Sensitivity({"a.weight_bits": {1.6: 0.75, 2.0: 0.5}})


STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize(
    "path", sorted(STUDIES.rglob("sensitivity.json")), ids=lambda path: path.parent.name
)
def test_the_reference_studies_are_read(path: Path) -> None:
    assert len(Sensitivity.read(path).loss_increases) >= 3
