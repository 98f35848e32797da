"""What the history figures have in common: panels, the training of the float model, marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import OutcomePoint, Pair, StudyData
from autoquant.figures.style import BLUE, ORANGE, RED, score_axis
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import best


@dataclass(frozen=True)
class FloatCurve:
    """How the float model was trained.

    Attributes:
        pairs: of training step and score on the probe split.
        view: of the scores.
    """

    pairs: tuple[Pair, ...]
    view: ScoreView


def float_curve(baseline: BaselineRecord) -> FloatCurve:
    """The intermediate scores of the float model; none where its weights were given.

    Args:
        baseline: the float model.
    """
    pairs = tuple((float(i), score) for i, score in baseline.history if math.isfinite(score))
    scores = [baseline.score, *(score for _, score in pairs)]
    return FloatCurve(pairs, view_of([], baseline.direction, scores))


def best_reference(data: StudyData) -> tuple[OutcomePoint, ...]:
    """The best uniform plan within the largest budget, if there is one.

    Args:
        data: of the search.
    """
    reference = best(data.references, data.budgets[0].size_bytes, data.baseline.direction)
    return data.points([reference] if reference else [])


# --- drawing -------------------------------------------------------------------------------------


def create_panels(curve: FloatCurve, ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for the search, and one for the float model where it was trained.

    Args:
        curve: of the float model.
        ratio: of the width of the first panel to that of the second.
    """
    figure = Figure(figsize=(10.5 if curve.pairs else 7, 4.6), layout="constrained")
    ratios = (ratio, 1) if curve.pairs else (1,)
    panels = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    return figure, list(panels)


def draw_float_curve(axes: Axes, curve: FloatCurve, baseline: BaselineRecord) -> None:
    """Draw the training of the float model.

    Args:
        axes: to draw on.
        curve: with at least one score.
        baseline: the float model.
    """
    axes.set_title("training of the float model", fontsize=11)
    score_axis(axes, curve.view, baseline, " on the probe split")
    axes.plot(*zip(*curve.pairs, strict=True), "o-", color=BLUE, ms=5)
    axes.set_xlabel("training step")


def trial_axis(axes: Axes, last: int, margin: float = 0.6) -> None:
    """Set up an x axis of trial numbers.

    Args:
        axes: whose x axis it is.
        last: the last number.
        margin: before the first and after the last number.
    """
    axes.set_xlabel("trial")
    axes.set_xlim(-margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def mark_lost(axes: Axes, numbers: Sequence[int], baseline: BaselineRecord) -> None:
    """Mark trials that have no score, at the bad end of the score axis.

    Args:
        axes: to draw on.
        numbers: of the trials.
        baseline: the float model, which says which end is bad.
    """
    if numbers:
        heights = [0.95 if baseline.direction == "minimize" else 0.05] * len(numbers)
        style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": RED}
        axes.plot(numbers, heights, "x", label="diverged, failed or interrupted", **style)


def draw_reference(axes: Axes, reference: tuple[str, float] | None) -> None:
    """Draw the score of the best uniform plan as a line.

    Args:
        axes: to draw on.
        reference: its name and score, if there is one.
    """
    if reference:
        name, score = reference
        label = f"best uniform plan within the budget: {name}"
        axes.axhline(score, color=ORANGE, ls=":", lw=1.8, label=label)
