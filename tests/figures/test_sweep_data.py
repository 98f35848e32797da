from dataclasses import replace
from math import isnan

import pytest

from autoquant.errors import UserError
from autoquant.figures.sweep_data import means_of, read_sweep
from tests.figures.samples import BASELINE, FLOAT_BYTES, cell, sweep_of


def test_seeds_are_taken_together():
    (mean,) = means_of([cell(4, 8, 38.0), cell(4, 8, 40.0, seed=1), cell(4, 8, None, seed=2)])
    assert (mean.name, mean.score, mean.lost) == ("w4-a8-x1", 39.0, ("diverged",))
    assert mean.spread == pytest.approx(2**0.5)
    assert mean.share == pytest.approx(4 / 32)
    assert mean.text == "39\n± 1.4\n(1 diverged)"


def test_one_seed_has_no_spread():
    mean, lost = means_of([cell(4, 8, 38.0), cell(2, 8, None)])
    assert (mean.spread, mean.text) == (0.0, "38")
    assert isnan(lost.score)
    assert lost.text == "diverged"


def test_a_plan_that_fits_no_budget_has_no_share():
    (mean,) = means_of([replace(cell(None, 8, None, budget="0.1x"), size_share=None)])
    assert (mean.share, mean.budget, mean.weight_bits) == (None, "0.1x", None)


def test_a_sweep_is_read_from_its_study(tmp_path):
    facts = read_sweep(sweep_of(tmp_path / "study", [cell(4, 8, 38.0), cell(2, 8, 40.0, seed=3)]))
    assert facts.baseline == BASELINE
    assert facts.baseline.size_bytes == FLOAT_BYTES
    assert [mean.name for mean in facts.scored] == ["w4-a8-x1", "w2-a8-x1"]
    assert facts.seeds == 1


def test_a_sweep_needs_cells(tmp_path):
    with pytest.raises(UserError, match=r"^a sweep must have cells to report, got none in '.*'$"):
        read_sweep(sweep_of(tmp_path / "study", []))
