"""The history figure: how the search and the training of the float model went."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import OutcomePoint, Pair, StudyData, points_of
from autoquant.figures.style import (
    BLUE,
    GREEN,
    LEGEND,
    ORANGE,
    RED,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
)
from autoquant.study.folder import BaselineRecord
from autoquant.study.outcome import Outcome, best
from autoquant.task import Direction

_NUMBER = re.compile("[0-9]{1,9}")

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
        reference: name and score of the best uniform plan within the budget.
        last: the last trial's number.
        view: of the trials' scores.
        curve: pairs of training step and score on the probe split, of the float model.
        curve_view: of the curve.
    """

    baseline: BaselineRecord
    trials: Mapping[str, tuple[Pair, ...]]
    pruned: tuple[int, ...]
    lost: tuple[int, ...]
    best: tuple[Pair, ...]
    reference: tuple[str, float] | None
    last: int
    view: ScoreView
    curve: tuple[Pair, ...]
    curve_view: ScoreView


def history_data(data: StudyData) -> HistoryData:
    """The search in the order of its trials.

    Args:
        data: of the search.
    """
    baseline, direction = data.baseline, data.baseline.direction
    outcomes = _by_number(data)
    trials = {kind: _scores(kind, outcomes, data.budget_bytes) for kind in TRIAL_STYLES}
    scored = [pair for pairs in trials.values() for pair in pairs]
    pruned = tuple(i for i, outcome in sorted(outcomes.items()) if outcome.state == "pruned")
    best_so_far = _best_so_far(trials["within"], direction)
    reference = _best_reference(data)
    keep = [baseline.score, *(score for _, score in best_so_far[-1:])]
    keep += [point.score for point in reference]
    curve = tuple((float(i), score) for i, score in baseline.history if math.isfinite(score))
    return HistoryData(
        baseline=baseline,
        trials=trials,
        pruned=pruned,
        lost=tuple(sorted(set(outcomes) - {int(i) for i, _ in scored} - set(pruned))),
        best=best_so_far,
        reference=(reference[0].name, reference[0].score) if reference else None,
        last=max(outcomes, default=0),
        view=view_of([score for _, score in scored], direction, keep),
        curve=curve,
        curve_view=view_of([], direction, [baseline.score, *(score for _, score in curve)]),
    )


def _by_number(data: StudyData) -> dict[int, Outcome]:
    """The outcomes of the search by trial number; one without a number has its place in order."""
    search = [outcome for outcome in data.outcomes if outcome.role == "search"]
    return {
        int(outcome.trial) if _NUMBER.fullmatch(outcome.trial) else i: outcome
        for i, outcome in enumerate(search)
    }


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


def _best_reference(data: StudyData) -> tuple[OutcomePoint, ...]:
    """The best uniform plan within the budget, if there is one."""
    references = [outcome for outcome in data.scored if outcome.role == "reference"]
    reference = best(references, data.budget_bytes, data.baseline.direction)
    return points_of([reference] if reference else [], data.baseline)


# --- drawing -------------------------------------------------------------------------------------


def draw_history(data: HistoryData) -> Figure:
    """Trials on the left; on the right, where it was recorded, the training of the float model.

    Args:
        data: to draw.
    """
    figure = Figure(figsize=(10.5 if data.curve else 7, 4.6), layout="constrained")
    panels = figure.subplots(1, 2 if data.curve else 1, squeeze=False)[0]
    _draw_trials(panels[0], data)
    if data.curve:
        panels[1].set_title("training of the float model", fontsize=11)
        score_axis(panels[1], data.curve_view, data.baseline, " on the probe split")
        panels[1].plot(*zip(*data.curve, strict=True), "o-", color=BLUE, ms=5)
        panels[1].set_xlabel("training step")
    figure.legend(ncols=3 if data.curve else 2, **LEGEND)
    return figure


def _draw_trials(axes: Axes, data: HistoryData) -> None:
    axes.set_title("search", fontsize=11)
    score_axis(axes, data.view, data.baseline)
    axes.set_xlabel("trial")
    axes.set_xlim(-0.6, data.last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for kind, (marker, size, color, label) in TRIAL_STYLES.items():
        scatter(axes, data.trials[kind], marker, size, color, label)
    mark_beyond(axes, [pair for pairs in data.trials.values() for pair in pairs], data.view)
    mark_unscored(axes, data.pruned, data.baseline)
    if data.lost:
        heights = [0.95 if data.baseline.direction == "minimize" else 0.05] * len(data.lost)
        style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": RED}
        axes.plot(data.lost, heights, "x", label="diverged, failed or interrupted", **style)
    if data.best:
        x, y = zip(*data.best, (data.last + 0.6, data.best[-1][1]), strict=True)
        axes.step(x, y, where="post", color=GREEN, lw=1.6, label="best within the budget so far")
    if data.reference:
        name, score = data.reference
        label = f"best uniform plan within the budget: {name}"
        axes.axhline(score, color=ORANGE, ls=":", lw=1.8, label=label)
