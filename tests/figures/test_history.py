from dataclasses import replace

import pytest

from autoquant.figures.history import draw_history, history_data
from autoquant.figures.history_parts import BestReference
from tests.figures.samples import BASELINE, INFEASIBLE, REFERENCES, TRIALS, study_data, trial


def test_history_data_follows_the_best_within_the_budget():
    over = trial(5, 0.2, 38.2)
    data = history_data(study_data([*REFERENCES, over, *TRIALS]))
    assert data.best == ((0, 41.0), (1, 39.0), (4, 39.0))
    assert data.trials["over"] == ((5, 38.2),)
    assert data.pruned == (2,)
    assert data.lost == (3,)
    assert data.reference == BestReference("best uniform plan within the budget: 3-bit", 40.0)


def test_history_follows_the_highest_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, direction="maximize")
    outcomes = [trial(0, 0.1, 0.8), trial(1, 0.1, 0.9), trial(2, 0.1, 0.7)]
    data = history_data(study_data(outcomes, baseline=baseline))
    assert data.best == ((0, 0.8), (1, 0.9), (2, 0.9))


def test_history_figure_has_the_training_curve_where_there_is_one():
    figure = draw_history(history_data(study_data(TRIALS)))
    search, curve = figure.axes
    assert search.get_xlabel() == "trial"
    assert curve.get_ylabel() == "perplexity on the probe split\n(lower is better)"
    assert list(curve.lines[0].get_ydata()) == [80.0, 50.0, 41.0]
    bare = study_data(TRIALS, baseline=replace(BASELINE, history=()))
    assert len(draw_history(history_data(bare)).axes) == 1


@pytest.mark.parametrize("outcomes", INFEASIBLE)
def test_a_study_without_a_feasible_plan_has_a_history(outcomes):
    data = history_data(study_data(outcomes))
    assert data.best == ()
    draw_history(data)
