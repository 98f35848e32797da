"""The history figure: the score of every trial on each rung that it reached, beside its noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import Pair, StudyData
from autoquant.figures.style import (
    BLACK,
    BLUE,
    LIGHT_BLUE,
    PALE,
    RED,
    legend,
    mark_beyond,
    scatter,
    score_axis,
)
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import Outcome
from autoquant.study.selection import MIN_ERRORS

RUNG_STYLES = (("o", 34, BLUE), ("s", 18, LIGHT_BLUE), ("D", 12, PALE))
"""Marker, size and colour of the last rung, the one before, and the one before that."""
PANEL_RATIO = 1.5
"""Width of the panel of the trials, over that of the float model's panel."""
MARGIN = 0.025
"""Before the first and after the last of many trials, over the number of the last one."""


@dataclass(frozen=True)
class RungSeries:
    """The scores on one rung.

    Attributes:
        label: in the legend.
        means: pairs of trial number and mean score over data orders.
        repeats: pairs of trial number and the score on each data order, where there are several.
    """

    label: str
    means: tuple[Pair, ...]
    repeats: tuple[Pair, ...]


@dataclass(frozen=True)
class RungHistoryData:
    """Everything in the history figure.

    Attributes:
        baseline: the float model.
        rungs: the longest first.
        paths: pairs of trial number and mean score, from rung to rung, of each trial with several.
        chosen: pairs of trial number and score of the plan that is chosen for each budget.
        chosen_label: in the legend.
        firsts: the same of the first plan of each budget, where another one is chosen.
        bands: ends of MIN_ERRORS standard errors around the score of each chosen plan.
        lost: numbers of the trials that diverged, failed or were interrupted.
        reference: the best plan with equal bits within the largest budget.
        last: the last trial's number.
        view: of the trials' scores.
        curve: of the training of the float model.
    """

    baseline: BaselineRecord
    rungs: tuple[RungSeries, ...]
    paths: tuple[tuple[Pair, ...], ...]
    chosen: tuple[Pair, ...]
    chosen_label: str
    firsts: tuple[Pair, ...]
    bands: tuple[Pair, ...]
    lost: tuple[int, ...]
    reference: BestReference | None
    last: int
    view: ScoreView
    curve: FloatCurve


def rung_history_data(data: StudyData) -> RungHistoryData:
    """The scores of a search in the order of its trials.

    Args:
        data: of a search whose single trainings are known.
    """
    baseline, outcomes = data.baseline, data.by_number()
    steps_of_rungs = sorted({at for o in outcomes.values() for at, _, _ in o.scores}, reverse=True)
    rungs = tuple(_rung_series(data, outcomes, steps) for steps in steps_of_rungs)
    found = [selection for selection in data.selections if selection is not None]
    chosen = _unique([selection.chosen for selection in found])
    firsts = _unique([s.first for s in found if s.first is not s.chosen])
    numbers = {outcome.trial: float(number) for number, outcome in outcomes.items()}
    bands = tuple(
        (point.score - MIN_ERRORS * point.error, point.score + MIN_ERRORS * point.error)
        for point in data.points(chosen)
        if not math.isnan(point.error)
    )
    reference = best_reference(data)
    keep = [baseline.score, *(end for band in bands for end in band)]
    keep += [outcome.score or 0.0 for outcome in (*chosen, *firsts)]
    keep += [reference.score] if reference else []
    scores = [score for rung in rungs for _, score in rung.means]
    return RungHistoryData(
        baseline=baseline,
        rungs=rungs,
        paths=_paths(outcomes),
        chosen=tuple((numbers[o.trial], o.score or 0.0) for o in chosen),
        chosen_label=data.chosen_label,
        firsts=tuple((numbers[o.trial], o.score or 0.0) for o in firsts),
        bands=bands,
        lost=_lost(outcomes),
        reference=reference,
        last=max(outcomes, default=0),
        view=view_of(scores, baseline.direction, keep),
        curve=float_curve(baseline),
    )


def _unique(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, each once: several budgets may have the same."""
    return list({outcome.trial: outcome for outcome in outcomes}.values())


def _rung_series(data: StudyData, outcomes: Mapping[int, Outcome], steps: int) -> RungSeries:
    """The scores on a rung, and in its label the noise of one training.

    Args:
        data: of the search.
        outcomes: by trial number.
        steps: of the rung.
    """
    means: list[Pair] = []
    repeats: list[Pair] = []
    for number, outcome in sorted(outcomes.items()):
        score = dict(outcome.history).get(steps)
        if score is not None and math.isfinite(score):
            means.append((float(number), score))
            by_order = outcome.by_order(steps)
            if len(by_order) > 1:
                repeats += [(float(number), each) for each in by_order.values()]
    noise = data.noise(steps)
    deviation = f", noise {noise.deviation:.2g}" if noise.degrees else ""
    return RungSeries(f"{steps:,} steps ({len(means)}{deviation})", tuple(means), tuple(repeats))


def _paths(outcomes: Mapping[int, Outcome]) -> tuple[tuple[Pair, ...], ...]:
    """From rung to rung the mean scores of each trial that has several."""
    paths = []
    for number, outcome in sorted(outcomes.items()):
        pairs = [(float(number), score) for _, score in outcome.history if math.isfinite(score)]
        if outcome.scores and len(pairs) > 1:
            paths.append(tuple(pairs))
    return tuple(paths)


def _lost(outcomes: Mapping[int, Outcome]) -> tuple[int, ...]:
    """The numbers of the trials that ended without a result."""
    states = ("diverged", "failed", "interrupted")
    return tuple(number for number, o in sorted(outcomes.items()) if o.state in states)


# --- drawing -------------------------------------------------------------------------------------


def draw_rung_history(data: RungHistoryData, page: Page = PAGE) -> Figure:
    """Trials on the left; on the right, where it was recorded, the training of the float model.

    Args:
        data: to draw.
        page: that the figure is for.
    """
    figure, panels = create_panels(data.curve, page, PANEL_RATIO)
    _draw_trials(panels[0], data, page)
    if data.curve.pairs:
        draw_float_curve(panels[1], data.curve, data.baseline, page)
    legend(figure, page)
    return figure


def _draw_trials(axes: Axes, data: RungHistoryData, page: Page) -> None:
    """The panel of the search.

    Args:
        axes: to draw on.
        data: to draw.
        page: of the figure.
    """
    axes.set_title("search: scores on each rung", fontsize="medium")
    score_axis(axes, data.view, data.baseline, page)
    trial_axis(axes, data.last, max(0.6, MARGIN * data.last))
    for i, (low, high) in enumerate(data.bands):
        label = "" if i else f"chosen plan ± {MIN_ERRORS:g} standard errors"
        axes.axhspan(low, high, color=RED, alpha=0.15, lw=0, zorder=0.5, label=label)
    for path in data.paths:
        axes.plot(*zip(*path, strict=True), color=PALE, lw=1.0, zorder=2)
    for rung, (marker, size, color) in zip(data.rungs, RUNG_STYLES, strict=False):
        scatter(axes, rung.means, marker, size, color, rung.label)
    repeats = [pair for rung in data.rungs for pair in rung.repeats]
    if repeats:
        x, y = zip(*repeats, strict=True)
        axes.plot(x, y, "_", color=BLACK, ms=9, mew=0.9, zorder=2.5, label="single data orders")
    mark_beyond(axes, [pair for rung in data.rungs for pair in rung.means], data.view, "score")
    mark_lost(axes, data.lost, data.baseline)
    scatter(axes, data.firsts, "-D", 95, BLACK, "first plan")
    scatter(axes, data.chosen, "-o", 190, RED, data.chosen_label)
    draw_reference(axes, data.reference)
