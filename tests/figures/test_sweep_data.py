from dataclasses import replace
from math import inf, isnan

import pytest

from autoquant.errors import UserError
from autoquant.figures.sweep_data import read_sweep_data, swept_plans
from tests.figures.samples import BASELINE, FLOAT_BYTES, run_result, sweep_of


def test_seeds_are_taken_together():
    (plan,) = swept_plans(
        [run_result(4, 8, 38.0), run_result(4, 8, 40.0, seed=1), run_result(4, 8, None, seed=2)]
    )
    assert (plan.name, plan.score, plan.failures) == ("w4-a8-x1", 39.0, ("diverged",))
    assert plan.deviation == pytest.approx(2**0.5)
    assert plan.share == pytest.approx(4 / 32)
    assert plan.text(1) == "39.0\n± 1.4\n(1 diverged)"


def test_one_seed_has_no_spread():
    plan, failed = swept_plans([run_result(4, 8, 38.0), run_result(2, 8, None)])
    assert (plan.deviation, plan.text(2)) == (0.0, "38.00")
    assert isnan(failed.score)
    assert failed.text(2) == "diverged"


def test_a_plan_that_fits_no_budget_has_no_share():
    (plan,) = swept_plans([replace(run_result(None, 8, None, budget="0.1x"), size_share=None)])
    assert (plan.share, plan.budget, plan.weight_bits) == (None, "0.1x", None)


def test_a_sweep_is_read_from_its_study(tmp_path):
    data = read_sweep_data(
        sweep_of(tmp_path / "study", [run_result(4, 8, 38.0), run_result(2, 8, 40.0, seed=3)])
    )
    assert data.baseline == BASELINE
    assert data.baseline.size_bytes == FLOAT_BYTES
    assert [plan.name for plan in data.scored] == ["w4-a8-x1", "w2-a8-x1"]
    assert data.seeds == 1


def test_a_sweep_needs_cells(tmp_path):
    with pytest.raises(UserError, match=r"^a sweep must have runs to report, got none in '.*'$"):
        read_sweep_data(sweep_of(tmp_path / "study", []))


def test_a_score_that_is_infinite_is_none():
    """A table that somebody has edited: statistics cannot have it."""
    (plan,) = swept_plans([run_result(4, 8, inf), run_result(4, 8, 40.0, seed=1)])
    assert (plan.scores, plan.deviation) == ((40.0,), 0.0)
