from dataclasses import replace
from math import isnan

import pytest

from autoquant.figures.pareto import draw_pareto
from autoquant.figures.pareto_points import pareto_data
from autoquant.figures.style import share_ticks
from tests.figures.samples import (
    BASELINE,
    INFEASIBLE,
    REFERENCES,
    RUNG_REFERENCES,
    RUNG_TRIALS,
    TRIALS,
    on_rungs,
    study_data,
    texts,
    trial,
    uniform,
)


def names(series):
    return [point.name for point in series.points]


def test_pareto_data_sorts_outcomes_into_series():
    data = pareto_data(study_data(REFERENCES + TRIALS))
    assert names(data.trials) == ["trial 0", "trial 1", "trial 4"]
    assert names(data.references) == ["8-bit", "4-bit", "3-bit", "2-bit"]
    assert names(data.lower) == ["trial 2"]
    assert [p.name for p in data.front] == ["2-bit", "3-bit", "trial 1", "4-bit", "8-bit"]
    assert data.undrawn == ("1 diverged",)
    (chosen,) = data.chosen.points
    assert (chosen.name, chosen.score) == ("trial 1", 39.0)
    assert chosen.share == pytest.approx(0.12)
    assert isnan(chosen.error)
    assert data.firsts == ()
    assert data.level is None


def test_pareto_data_places_the_budget():
    data = pareto_data(study_data(REFERENCES + TRIALS))
    (budget,) = data.budgets
    assert budget.share == pytest.approx(0.124)
    assert budget.text == "budget 0.124x = 298 kB"
    assert data.shares[0] < 2 / 32 < 8 / 32 < data.shares[1]


def test_a_reference_may_be_chosen():
    assert names(pareto_data(study_data([*REFERENCES, *TRIALS], budget=0.3)).chosen) == ["8-bit"]


def test_high_scores_lead_the_front_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, metric="accuracy", direction="maximize")
    outcomes = [trial(0, 0.10, 0.80), trial(1, 0.11, 0.90), trial(2, 0.12, 0.85)]
    data = pareto_data(study_data(outcomes, baseline=baseline))
    assert [p.name for p in data.front] == ["trial 0", "trial 1"]
    assert data.chosen.points == data.trials.points[1:2]
    axes = draw_pareto(data).axes[0]
    assert axes.get_ylabel() == "accuracy on the validation split\n(higher is better)"


def test_pareto_figure_says_what_it_shows():
    figure = draw_pareto(pareto_data(study_data(REFERENCES + TRIALS)))
    said = texts(figure)
    for text in (
        "chosen: trial 1, 0.12x = 288 kB, perplexity 39.00",
        "budget 0.124x = 298 kB",
        "float model: 38, 2.4 MB",
        "pruned (1), scored on the probe split only",
        "not drawn: 1 diverged",
        "4-bit",
    ):
        assert text in said
    axes = figure.axes[0]
    assert axes.get_ylabel() == "perplexity on the validation split\n(lower is better)"
    assert axes.get_xlabel() == "packed size, as a share of the float model (log scale)"
    shares = [label.get_text() for label in axes.get_xticklabels()]
    assert shares == ["0.07x", "0.1x", "0.15x", "0.2x"]
    top = axes.child_axes[0]
    assert top.get_xlabel() == "packed size (log scale)"
    assert [t.get_text() for t in top.get_xticklabels()] == ["150 kB", "200 kB", "300 kB", "500 kB"]


def test_pareto_figure_counts_and_marks_what_is_beyond_the_axis():
    wild = [trial(5, 0.1, 2000.0), trial(6, 0.1, 9000.0)]
    data = pareto_data(study_data([*REFERENCES, *TRIALS, *wild]))
    assert data.view.beyond == 2
    figure = draw_pareto(data)
    assert "2 trials beyond the axis" in texts(figure)
    edges = [line for line in figure.axes[0].lines if "beyond" in str(line.get_label())]
    assert [list(line.get_ydata()) for line in edges] == [[data.view.high] * 2]


def test_a_logarithmic_axis_has_plain_numbers():
    outcomes = [trial(i, 0.1, 40.0 * 2.5**i) for i in range(6)]
    axes = draw_pareto(pareto_data(study_data(outcomes))).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert {"100", "1,000", "2,000"} <= set(labels)


def test_a_reference_beyond_the_axis_is_named_with_its_score():
    outcomes = [*TRIALS, *REFERENCES[:3], uniform(2, 1234.0)]
    said = texts(draw_pareto(pareto_data(study_data(outcomes))))
    assert "2-bit: 1,234" in said
    assert "1 trial beyond the axis" in said


@pytest.mark.parametrize("outcomes", INFEASIBLE)
def test_a_study_without_a_feasible_plan_is_drawn(outcomes):
    data = pareto_data(study_data(outcomes))
    assert data.chosen.points == ()
    assert "no trained plan fits the budget" in texts(draw_pareto(data))


@pytest.mark.parametrize("limits", [(0.055, 0.29), (0.11, 0.14), (0.01, 1.5), (0.2, 0.3)])
def test_ticks_are_few_and_inside(limits):
    ticks = share_ticks(*limits)
    assert 2 <= len(ticks) <= 9
    assert all(limits[0] <= tick <= limits[1] for tick in ticks)


def test_trials_of_the_last_rung_have_errors():
    data = pareto_data(study_data(RUNG_REFERENCES + RUNG_TRIALS))
    assert names(data.trials) == ["trial 0", "trial 3", "trial 5"]
    errors = [point.error for point in data.trials.points]
    assert errors == pytest.approx([0.2 / 3**0.5, 0.2 / 3**0.5, 0.2])
    assert names(data.lower) == ["trial 1", "trial 2"]
    assert [p.name for p in data.front] == ["trial 5", "trial 3"]
    assert (names(data.chosen), [p.name for p in data.firsts]) == (["trial 3"], ["trial 0"])
    assert not data.same_rung
    assert data.undrawn == ("1 diverged",)


def test_uniform_plans_of_another_rung_do_not_set_the_axis():
    far = on_rungs("w2", 0.07, {100: [44.0]})
    data = pareto_data(study_data([*RUNG_REFERENCES, far, *RUNG_TRIALS]))
    assert 40.0 < data.view.high < 40.9
    assert data.view.beyond == 2  # w3 and w2
    said = texts(draw_pareto(data))
    assert {"2 plans beyond the axis", "2-bit: 44", "3-bit: 40.9"} <= set(said)


def test_a_figure_with_rungs_says_what_compares():
    figure = draw_pareto(pareto_data(study_data(RUNG_REFERENCES + RUNG_TRIALS)))
    assert {
        "chosen: trial 3, 0.118x = 283 kB, perplexity 37.90 ± 0.12",
        "trials (3), 1,200 steps",
        "± standard error",
        "uniform bits, 100 steps",
        "stopped on a lower rung (2)",
        "level with float down to 0.118x",
        "first plan",
        "chosen plan",
    } <= set(texts(figure))
    (bars,) = figure.axes[0].collections[:1]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends[2] == pytest.approx([39.8, 40.2])


def test_every_budget_has_a_line_and_a_choice():
    data = pareto_data(study_data(RUNG_REFERENCES + RUNG_TRIALS, budget=(0.124, 0.1, 0.05)))
    assert data.titles == (
        "chosen for 0.124x: trial 3, 0.118x = 283 kB, perplexity 37.90 ± 0.12",
        "chosen for 0.1x: trial 5, 0.08x = 192 kB, perplexity 40.00 ± 0.20",
        "no trained plan fits the budget 0.05x",
    )
    assert [line.text for line in data.budgets] == [
        "budget 0.124x = 298 kB",
        "budget 0.1x = 240 kB",
        "budget 0.05x = 120 kB",
    ]
    assert names(data.chosen) == ["trial 3", "trial 5"]
    assert [p.name for p in data.firsts] == ["trial 0"]
    said = texts(draw_pareto(data))
    assert "\n".join(data.titles) in said


def test_where_the_first_plan_is_chosen_the_legend_says_so():
    data = pareto_data(study_data(RUNG_TRIALS[:3]))
    assert (names(data.chosen), data.firsts) == (["trial 0"], ())
    assert data.chosen.label == "chosen plan: the first one"
    bounded = pareto_data(study_data(RUNG_TRIALS[:3], bound=39.5))
    assert bounded.chosen.label == "chosen plan"
    within = pareto_data(study_data(RUNG_TRIALS[:3], bound=38.0))
    assert within.titles == ("no trained plan fits the budget and the bound",)


def test_the_smallest_plan_level_with_the_chosen_one_is_marked():
    """Trial 1 is worse by 0.1 on average, with a spread of 0.2 over data orders: no difference."""
    outcomes = [
        on_rungs("0", 0.12, {100: [40.0, 40.4, 40.2]}),
        on_rungs("1", 0.11, {100: [40.3, 40.3, 40.3]}),
        on_rungs("2", 0.08, {100: [43.0]}),
    ]
    data = pareto_data(study_data(outcomes))
    assert names(data.chosen) == ["trial 0"]
    assert [p.name for p in data.smallest] == ["trial 1"]
    assert "smallest plan level with chosen" in texts(draw_pareto(data))
    assert pareto_data(study_data(outcomes[::2])).smallest == ()


def test_trials_stopped_on_the_last_rung_keep_their_scores():
    """Without a full rung: the medium one is the last, and some of its plans are no finalists."""
    outcomes = [
        on_rungs("0", 0.12, {100: [41.0], 400: [40.0]}),
        on_rungs("1", 0.12, {100: [41.2], 400: [40.3]}, "pruned"),
        on_rungs("2", 0.12, {100: [42.0]}, "pruned"),
    ]
    data = pareto_data(study_data([on_rungs("w4", 0.125, {400: [40.1]}), *outcomes]))
    assert (names(data.trials), names(data.stopped), names(data.lower)) == (
        ["trial 0"],
        ["trial 1"],
        ["trial 2"],
    )
    assert data.same_rung  # the uniform plan was trained as long
    assert data.view.beyond == 0
    assert "stopped on this rung (1)" in texts(draw_pareto(data))


def test_a_search_that_is_running_shows_its_longest_rung():
    outcomes = [
        on_rungs("0", 0.12, {100: [41.0], 400: [40.0]}, "scored"),
        on_rungs("1", 0.11, {100: [41.5]}, "scored"),
        on_rungs("2", 0.12, {}, "scored"),
    ]
    data = pareto_data(study_data(outcomes))
    assert (names(data.trials), names(data.lower)) == (["trial 0"], ["trial 1"])
    assert data.trials.label == "trials (1), 400 steps"
    assert data.lower.label == "on a lower rung (1)"
    assert data.undrawn == ("1 not trained yet",)
    assert data.front == ()
    assert draw_pareto(data)


def test_without_a_score_like_float_the_best_plan_is_what_others_are_level_with():
    outcomes = [
        on_rungs("0", 0.12, {100: [40.0, 40.2, 39.8]}),
        on_rungs("1", 0.11, {100: [40.1]}),
        on_rungs("2", 0.08, {100: [43.0]}),
    ]
    level = pareto_data(study_data(outcomes)).level
    assert level is not None
    assert level.text == "level with the best plan down to 0.110x"
    assert pareto_data(study_data([outcomes[0], outcomes[2]])).level is None
