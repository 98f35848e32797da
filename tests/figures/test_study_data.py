from math import inf, isnan

import pytest

from autoquant.figures.study_data import SizeBudget, read_study_data
from tests.figures.samples import (
    FLOAT_BYTES,
    REFERENCES,
    RUNG_REFERENCES,
    RUNG_TRIALS,
    TRIALS,
    study_data,
    study_of,
    trial,
)


def test_the_largest_budget_comes_first(tmp_path):
    outcomes = RUNG_REFERENCES + RUNG_TRIALS
    data = read_study_data(study_of(tmp_path / "study", outcomes, budget=["0.1x", "300kB"]))
    assert data.budgets == (SizeBudget("300kB", 300_000), SizeBudget("0.1x", FLOAT_BYTES // 10))
    assert [s and (s.chosen.trial, s.first.trial) for s in data.selections] == [
        ("3", "0"),
        ("5", "5"),
    ]
    assert data.chosen is data.outcomes[5]
    assert data.outcomes == tuple(outcomes)


def test_a_study_with_rungs_knows_its_noise():
    data = study_data(RUNG_REFERENCES + RUNG_TRIALS)
    assert (data.has_rungs, data.last_rung) == (True, 1200)
    assert data.noise(1200).deviation == pytest.approx(0.2)
    assert isnan(data.noise(400).deviation)
    old = study_data(REFERENCES + TRIALS)
    assert not old.has_rungs
    assert all(isnan(point.error) for point in old.points(old.outcomes))


def test_what_is_not_a_number_is_not_chosen():
    data = study_data([trial(0, 0.1, -inf), trial(1, 0.1, 40.0)])
    assert data.chosen is data.outcomes[1]
