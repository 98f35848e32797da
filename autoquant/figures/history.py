"""The history figure of earlier versions' studies: the score of every trial that was completed.

The trials of these studies have one final score each, and pruned ones have none. The figure of
other studies: ``rung_history``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.history_parts import (
    BestReference,
    FloatCurve,
    best_reference,
    create_panels,
    draw_float_curve,
    draw_reference,
    float_curve,
    mark_lost,
    trial_axis,
)
from autoquant.figures.page import PAGE, Page
from autoquant.figures.pareto_points import NO_SCORE
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import Pair, StudyData
from autoquant.figures.style import (
    BLUE,
    GREEN,
    legend,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
)
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import Outcome
from autoquant.task import Direction

TRIAL_STYLES = {  # of trials with a score: marker, size, colour, label
    "within": ("o", 34, BLUE, "trial within the budget"),
    "over": ("-D", 26, BLUE, "trial over the budget"),
}


@dataclass(frozen=True)
class HistoryData:
    """Everything in the history figure.

    Attributes:
        baseline: the float model.
        trials: pairs of trial number and final score, by the keys of TRIAL_STYLES.
        pruned: numbers of the pruned trials; they have no final score.
        lost: numbers of the trials that diverged, failed or were interrupted.
        best: pairs of trial number and best score within the budget so far.
        reference: the best plan with equal bits within the budget.
        last: the last trial's number.
        view: of the trials' scores.
        curve: of the training of the float model.
    """

    baseline: BaselineRecord
    trials: Mapping[str, tuple[Pair, ...]]
    pruned: tuple[int, ...]
    lost: tuple[int, ...]
    best: tuple[Pair, ...]
    reference: BestReference | None
    last: int
    view: ScoreView
    curve: FloatCurve


def history_data(data: StudyData) -> HistoryData:
    """The search in the order of its trials.

    Args:
        data: of the search.
    """
    baseline, direction = data.baseline, data.baseline.direction
    outcomes, budget = data.by_number(), data.budgets[0].size_bytes
    trials = {kind: _scores(kind, outcomes, budget) for kind in TRIAL_STYLES}
    scored = [pair for pairs in trials.values() for pair in pairs]
    pruned = tuple(i for i, outcome in sorted(outcomes.items()) if outcome.state == "pruned")
    best_so_far = _best_so_far(trials["within"], direction)
    reference = best_reference(data)
    keep = [baseline.score, *(score for _, score in best_so_far[-1:])]
    keep += [reference.score] if reference else []
    return HistoryData(
        baseline=baseline,
        trials=trials,
        pruned=pruned,
        lost=tuple(sorted(set(outcomes) - {int(i) for i, _ in scored} - set(pruned))),
        best=best_so_far,
        reference=reference,
        last=max(outcomes, default=0),
        view=view_of([score for _, score in scored], direction, keep),
        curve=float_curve(baseline),
    )


def _scores(kind: str, outcomes: Mapping[int, Outcome], budget: int) -> tuple[Pair, ...]:
    """Trial numbers and scores of one kind of complete trials.

    Args:
        kind: "within" or "over" the budget.
        outcomes: by trial number.
        budget: in bytes.
    """
    pairs = []
    for number, outcome in sorted(outcomes.items()):
        fits = "within" if outcome.size_bytes <= budget else "over"
        score = outcome.score
        if outcome.state == "complete" and fits == kind and score is not None:
            pairs.append((float(number), score))
    return tuple((number, score) for number, score in pairs if math.isfinite(score))


def _best_so_far(pairs: tuple[Pair, ...], direction: Direction) -> tuple[Pair, ...]:
    """Trial numbers, each with the best score of all trials up to it."""
    pick = min if direction == "minimize" else max
    return tuple(
        (number, pick(score for _, score in pairs[: i + 1])) for i, (number, _) in enumerate(pairs)
    )


# --- drawing -------------------------------------------------------------------------------------


def draw_history(data: HistoryData, page: Page = PAGE) -> Figure:
    """Trials on the left; on the right, where it was recorded, the training of the float model.

    Args:
        data: to draw.
        page: that the figure is for.
    """
    figure, panels = create_panels(data.curve, page)
    _draw_trials(panels[0], data, page)
    if data.curve.pairs:
        draw_float_curve(panels[1], data.curve, data.baseline, page)
    legend(figure, page)
    return figure


def _draw_trials(axes: Axes, data: HistoryData, page: Page) -> None:
    """The panel of the search.

    Args:
        axes: to draw on.
        data: to draw.
        page: of the figure.
    """
    axes.set_title("search", fontsize="medium")
    score_axis(axes, data.view, data.baseline, page)
    trial_axis(axes, data.last)
    for kind, (marker, size, color, label) in TRIAL_STYLES.items():
        scatter(axes, data.trials[kind], marker, size, color, label)
    mark_beyond(axes, [pair for pairs in data.trials.values() for pair in pairs], data.view)
    label = f"pruned ({len(data.pruned)}), {NO_SCORE}"
    mark_unscored(axes, data.pruned, data.baseline, label)
    mark_lost(axes, data.lost, data.baseline)
    if data.best:
        x, y = zip(*data.best, (data.last + 0.6, data.best[-1][1]), strict=True)
        axes.step(x, y, where="post", color=GREEN, label="best within the budget so far")
    draw_reference(axes, data.reference)
