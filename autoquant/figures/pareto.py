"""The pareto figure: size against score."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.labels import format_score
from autoquant.figures.pareto_points import ParetoData, SizeLine
from autoquant.figures.style import (
    BLACK,
    BLUE,
    DARK_PINK,
    GREEN,
    GREY,
    LEGEND,
    LIGHT_BLUE,
    ORANGE,
    PINK,
    RED,
    annotate,
    draw_undrawn,
    error_bars,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
    share_axis,
)

LINE_HEIGHT = 14
"""Of a text beside a budget, in points."""


def draw_pareto(data: ParetoData) -> Figure:
    """Size on a logarithmic axis, score above it.

    Args:
        data: to draw.
    """
    figure = Figure(figsize=(8, 5.6 + 0.2 * (len(data.titles) - 1)), layout="constrained")
    axes = figure.add_subplot()
    share_axis(axes, data.shares, data.baseline.size_bytes)
    score_axis(axes, data.view, data.baseline)
    for i, budget in enumerate(data.budgets):
        _draw_budget(axes, data, budget, i)
    if data.level:
        _draw_level(axes, data, data.level)
    _draw_points(axes, data)
    axes.set_title("\n".join(data.titles), fontsize=11)
    draw_undrawn(axes, data.undrawn)
    figure.legend(ncols=3, **LEGEND)
    return figure


def _draw_points(axes: Axes, data: ParetoData) -> None:
    """The front, every plan, and which plans are chosen."""
    if data.front:
        front = [*(point.at for point in data.front), (data.shares[1], data.front[-1].score)]
        x, y = zip(*front, strict=True)
        axes.step(x, y, where="post", color=GREEN, lw=1.6, label="Pareto front", zorder=2)
    trials, stopped, references = data.trials, data.stopped, data.references
    error_bars(axes, trials.points, BLUE)
    scatter(axes, trials.pairs, "o", 34, BLUE, trials.label)
    scatter(axes, stopped.pairs, "o", 14, LIGHT_BLUE, stopped.label)
    marker = "s" if data.same_rung else "-s"
    scatter(axes, references.pairs, marker, 48, ORANGE, references.label)
    mark_unscored(axes, [p.share for p in data.lower.points], data.baseline, data.lower.label)
    pairs = [*trials.pairs, *stopped.pairs, *references.pairs]
    mark_beyond(axes, pairs, data.view, "trial" if data.same_rung else "plan")
    _name_references(axes, data)
    scatter(axes, [point.at for point in data.firsts], "-D", 95, BLACK, "first plan")
    scatter(axes, data.chosen.pairs, "-o", 190, RED, data.chosen.label)
    level = [point.at for point in data.smallest]
    scatter(axes, level, "-p", 130, GREEN, "smallest plan level with chosen")


def _draw_budget(axes: Axes, data: ParetoData, budget: SizeLine, index: int) -> None:
    """A budget, with its text on the bad side, where fewer points are near the line.

    Args:
        axes: to draw on.
        data: of the figure.
        budget: to draw.
        index: of the budget; each text stands below the one before.
    """
    axes.axvline(budget.share, color=PINK, ls="-.", lw=1.6, zorder=1)
    left, right = (abs(math.log(share / budget.share)) for share in data.shares)
    below = index * LINE_HEIGHT
    height, down = (1.0, -5 - below) if data.baseline.direction == "minimize" else (0.0, 5 + below)
    side, ha = (5, "left") if right > 0.6 * left else (-5, "right")
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": DARK_PINK}
    annotate(axes, budget.text, (budget.share, height), (side, down), **style)


def _draw_level(axes: Axes, data: ParetoData, level: SizeLine) -> None:
    """The smallest size that keeps a score, with its text on the good side.

    Args:
        axes: to draw on.
        data: of the figure.
        level: to draw.
    """
    axes.axvline(level.share, color=GREY, ls=":", lw=1.0, zorder=1)
    left, right = (abs(math.log(share / level.share)) for share in data.shares)
    height, up = (0.0, 5) if data.baseline.direction == "minimize" else (1.0, -5)
    side, ha = (-5, "right") if left > 0.6 * right else (5, "left")
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": GREY}
    annotate(axes, level.text, (level.share, height), (side, up), **style)


def _name_references(axes: Axes, data: ParetoData) -> None:
    """Names of the references, on the side where a front is empty."""
    side = -5 if data.baseline.direction == "minimize" else 5
    for point in data.references.points:
        shown = min(max(point.score, data.view.low), data.view.high)
        outside = "" if shown == point.score else f": {format_score(point.score)}"
        at_marks = outside and not data.same_rung  # marks of trials stand along that end
        offset = (6, side * (3.4 if at_marks else 1))
        annotate(axes, f"{point.name}{outside}", (point.share, shown), offset)
