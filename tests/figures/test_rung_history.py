from dataclasses import replace

import pytest

from autoquant.figures.history_parts import BestReference
from autoquant.figures.rung_history import draw_rung_history, rung_history_data
from tests.figures.samples import (
    BASELINE,
    RUNG_REFERENCES,
    RUNG_TRIALS,
    on_rungs,
    study_data,
    texts,
)

OUTCOMES = RUNG_REFERENCES + RUNG_TRIALS


def test_every_rung_has_the_scores_of_the_trials_that_reached_it():
    full, medium, short = rung_history_data(study_data(OUTCOMES)).rungs
    assert dict(full.means) == pytest.approx({0: 39.0, 3: 37.9, 5: 40.0})
    assert medium.means == ((0, 40.0), (2, 40.5), (3, 39.8), (5, 41.5))
    assert dict(short.means) == pytest.approx({0: 41.0, 1: 42.0, 2: 41.5, 3: 41.1, 5: 43.0})
    assert full.repeats == ((0, 39.0), (0, 39.2), (0, 38.8), (3, 37.9), (3, 37.7), (3, 38.1))
    assert medium.repeats == ()
    assert short.repeats == ((0, 41.0), (0, 41.2), (0, 40.8))
    assert [full.label, medium.label, short.label] == [
        "1,200 steps (3, noise 0.2)",
        "400 steps (4)",
        "100 steps (5, noise 0.2)",  # of trial 0 and of the uniform 8-bit plan
    ]


def test_a_line_joins_the_rungs_of_a_trial():
    paths = rung_history_data(study_data(OUTCOMES)).paths
    assert [path[0][0] for path in paths] == [0, 2, 3, 5]
    assert paths[1] == ((2, 41.5), (2, 40.5))


def test_the_chosen_and_the_first_plan_are_marked_and_have_a_band():
    data = rung_history_data(study_data(OUTCOMES))
    assert dict(data.chosen) == pytest.approx({3: 37.9})
    assert dict(data.firsts) == pytest.approx({0: 39.0})
    error = 0.2 / 3**0.5
    assert data.bands == (pytest.approx((37.9 - 2 * error, 37.9 + 2 * error)),)
    assert (data.lost, data.last) == ((4,), 5)
    assert data.reference == BestReference(
        "best uniform plan within the budget: 3-bit, 100 steps", 40.9
    )


def test_each_budget_has_a_choice():
    data = rung_history_data(study_data(OUTCOMES, budget=(0.124, 0.1)))
    assert dict(data.chosen) == pytest.approx({3: 37.9, 5: 40.0})
    assert data.bands[1] == pytest.approx((39.6, 40.4))


def test_without_a_repeat_there_is_no_noise():
    data = rung_history_data(study_data([on_rungs("0", 0.12, {100: [41.0], 400: [40.0]})]))
    assert data.bands == ()
    assert [rung.label for rung in data.rungs] == ["400 steps (1)", "100 steps (1)"]
    assert data.reference is None
    assert data.chosen_label == "chosen plan: the first one"
    assert draw_rung_history(data)


def test_scores_are_in_view_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, metric="accuracy", direction="maximize")
    outcomes = [
        on_rungs("0", 0.12, {100: [0.8, 0.82], 400: [0.9, 0.88]}),
        on_rungs("1", 0.1, {100: [0.7]}, "pruned"),
    ]
    data = rung_history_data(study_data(outcomes, baseline=baseline))
    assert data.view.low < 0.7
    assert data.view.high > 0.92
    assert dict(data.chosen) == pytest.approx({0: 0.89})


def test_a_study_whose_trainings_all_failed_is_drawn():
    lost = [RUNG_REFERENCES[0], on_rungs("0", 0.12, {}, "diverged")]
    data = rung_history_data(study_data(lost))
    assert (data.rungs, data.chosen, data.lost) == ((), (), (0,))
    assert draw_rung_history(data)


def test_the_figure_says_what_it_shows():
    figure = draw_rung_history(rung_history_data(study_data(OUTCOMES)))
    search, curve = figure.axes
    assert {
        "chosen plan ± 2 standard errors",
        "1,200 steps (3, noise 0.2)",
        "single data orders",
        "diverged, failed or interrupted",
        "first plan",
        "chosen plan",
        "best uniform plan within the budget: 3-bit, 100 steps",
        "float model: 38, 2.4 MB",
    } <= set(texts(figure))
    (ticks,) = [line for line in search.lines if line.get_label() == "single data orders"]
    assert len(ticks.get_ydata()) == 9
    assert list(curve.lines[0].get_ydata()) == [80.0, 50.0, 41.0]
    bare = study_data(OUTCOMES, baseline=replace(BASELINE, history=()))
    assert len(draw_rung_history(rung_history_data(bare)).axes) == 1
