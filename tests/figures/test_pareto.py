from dataclasses import replace

import pytest

from autoquant.figures.pareto import draw_pareto, pareto_data
from autoquant.figures.style import share_ticks
from tests.figures.samples import (
    BASELINE,
    INFEASIBLE,
    REFERENCES,
    TRIALS,
    study_data,
    texts,
    trial,
    uniform,
)


def test_pareto_data_sorts_outcomes_into_series():
    data = pareto_data(study_data(REFERENCES + TRIALS))
    assert [p.name for p in data.search] == ["trial 0", "trial 1", "trial 4"]
    assert [p.name for p in data.references] == ["8-bit", "4-bit", "3-bit", "2-bit"]
    assert [p.name for p in data.pruned] == ["trial 2"]
    assert [p.name for p in data.front] == ["2-bit", "3-bit", "trial 1", "4-bit", "8-bit"]
    assert data.undrawn == ("1 diverged",)
    assert data.chosen is not None
    assert (data.chosen.name, data.chosen.score) == ("trial 1", 39.0)
    assert data.chosen.share == pytest.approx(0.12)


def test_pareto_data_places_the_budget():
    data = pareto_data(study_data(REFERENCES + TRIALS))
    assert data.budget == pytest.approx(0.124)
    assert data.budget_text == "budget 0.124x = 298 kB"
    assert data.shares[0] < 2 / 32 < 8 / 32 < data.shares[1]


def test_a_reference_may_be_chosen():
    chosen = pareto_data(study_data([*REFERENCES, *TRIALS], budget=0.3)).chosen
    assert chosen is not None
    assert chosen.name == "8-bit"


def test_high_scores_lead_the_front_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, metric="accuracy", direction="maximize")
    outcomes = [trial(0, 0.10, 0.80), trial(1, 0.11, 0.90), trial(2, 0.12, 0.85)]
    data = pareto_data(study_data(outcomes, baseline=baseline))
    assert [p.name for p in data.front] == ["trial 0", "trial 1"]
    assert data.chosen == data.search[1]
    axes = draw_pareto(data).axes[0]
    assert axes.get_ylabel() == "accuracy (higher is better)"


def test_pareto_figure_says_what_it_shows():
    figure = draw_pareto(pareto_data(study_data(REFERENCES + TRIALS)))
    said = texts(figure)
    for text in (
        "chosen: trial 1, 0.12x = 288 kB, perplexity 39",
        "budget 0.124x = 298 kB",
        "float model: 38, 2.4 MB",
        "pruned (1), no final score",
        "not drawn: 1 diverged",
        "4-bit",
    ):
        assert text in said
    axes = figure.axes[0]
    assert axes.get_ylabel() == "perplexity (lower is better)"
    assert "0.125x" in [label.get_text() for label in axes.get_xticklabels()]
    top = axes.child_axes[0]
    assert "300 kB" in [label.get_text() for label in top.get_xticklabels()]


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
    assert data.chosen is None
    assert "no trained plan fits the budget" in texts(draw_pareto(data))


@pytest.mark.parametrize("limits", [(0.055, 0.29), (0.11, 0.14), (0.01, 1.5), (0.2, 0.3)])
def test_ticks_are_few_and_inside(limits):
    ticks = share_ticks(*limits)
    assert 2 <= len(ticks) <= 9
    assert all(limits[0] <= tick <= limits[1] for tick in ticks)
