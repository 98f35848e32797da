"""What the history figures have in common: panels, the training of the float model, marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoquant.figures.labels import outcome_label
from autoquant.figures.page import Page
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import Pair, StudyData
from autoquant.figures.style import BLUE, ORANGE, RED, score_axis
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import best
from autoquant.study.reference_name import is_uniform

PROBE = "on the probe split"
HEIGHT, NARROW_HEIGHT = 3.2, 2.4
"""Of a panel, in inches, on a page and on a narrow one."""


@dataclass(frozen=True)
class BestReference:
    """The best reference within the largest budget.

    Attributes:
        label: in the legend; it says "uniform" where all weights have the same bits.
        score: on the validation split.
    """

    label: str
    score: float


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
    scores = [score for _, score in pairs] or [baseline.score]
    return FloatCurve(pairs, view_of([], baseline.direction, scores))


def best_reference(data: StudyData) -> BestReference | None:
    """The best reference within the largest budget, if there is one.

    Args:
        data: of the search.
    """
    found = best(data.references, data.budgets[0].size_bytes, data.baseline.direction)
    if found is None or found.score is None:
        return None
    kind = "uniform plan" if is_uniform(found) else "reference"
    steps = f", {found.steps:,} steps" if found.scores else ""
    label = f"best {kind} within the budget: {outcome_label(found)}{steps}"
    return BestReference(label, found.score)


# --- drawing -------------------------------------------------------------------------------------


def create_panels(curve: FloatCurve, page: Page, ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for the search, and one for the float model where it was trained.

    Args:
        curve: of the float model.
        page: that the figure is for.
        ratio: of the width of the first panel to that of the second.
    """
    height = NARROW_HEIGHT if page.is_narrow else HEIGHT
    ratios = (ratio, 1.0) if curve.pairs else (1.0,)
    return page.panels(len(ratios), height, ratios)


def draw_float_curve(axes: Axes, curve: FloatCurve, baseline: BaselineRecord, page: Page) -> None:
    """Draw the training of the float model, all of it on the probe split.

    Args:
        axes: to draw on.
        curve: with at least one score.
        baseline: the float model.
        page: of the figure.
    """
    axes.set_title("training of the float model", fontsize="medium")
    score_axis(axes, curve.view, baseline, page, PROBE)
    label = f"float model {PROBE}"
    axes.plot(*zip(*curve.pairs, strict=True), "o-", color=BLUE, label=label)
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))


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


def draw_reference(axes: Axes, reference: BestReference | None) -> None:
    """Draw the score of the best reference as a line.

    Args:
        axes: to draw on.
        reference: if there is one.
    """
    if reference:
        axes.axhline(reference.score, color=ORANGE, ls=":", label=reference.label)
