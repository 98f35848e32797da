"""The pareto figure: size against score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from autoquant.figures.labels import format_score
from autoquant.figures.page import PAGE, Page
from autoquant.figures.pareto_points import ParetoData, SizeLine
from autoquant.figures.placement import PointName, place_names
from autoquant.figures.study_data import Pair
from autoquant.figures.style import (
    BLACK,
    BLUE,
    DARK_PINK,
    GREEN,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    PINK,
    RED,
    annotate,
    draw_undrawn,
    error_bars,
    legend,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
    share_axis,
)

HEIGHT, NARROW_HEIGHT = 4.3, 3.0
"""Of the figure without its title and its legend, in inches, on a page and on a narrow one."""
MARK_HEIGHT = 14
"""Of the marks at the bad end of the axis, in points: texts stand beyond them."""
LINE_HEIGHT = 1.6
"""Of a text beside a budget, over the size of its font."""


def draw_pareto(data: ParetoData, page: Page = PAGE) -> Figure:
    """Size on a logarithmic axis, score above it.

    Args:
        data: to draw.
        page: that the figure is for.
    """
    figure = page.figure(NARROW_HEIGHT if page.is_narrow else HEIGHT)
    axes = figure.add_subplot()
    share_axis(axes, data.shares, data.baseline.size_bytes, page)
    score_axis(axes, data.view, data.baseline, page)
    texts = [_draw_budget(axes, data, i, page) for i in range(len(data.budgets))]
    if data.level:
        texts.append(_draw_level(axes, data, data.level))
    _draw_points(axes, data)
    page.title(figure, "\n".join(data.titles))
    draw_undrawn(axes, data.undrawn)
    legend(figure, page)
    _name_references(figure, data, texts)
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
    scatter(axes, [point.at for point in data.firsts], "-D", 95, BLACK, "first plan")
    scatter(axes, data.chosen.pairs, "-o", 190, RED, data.chosen.label)
    level = [point.at for point in data.smallest]
    scatter(axes, level, "-p", 130, GREEN, "smallest plan level with chosen")


def _draw_budget(axes: Axes, data: ParetoData, index: int, page: Page) -> Annotation:
    """A budget, with its text on the bad side, where fewer points are near the line.

    Args:
        axes: to draw on.
        data: of the figure.
        index: of the budget; each text stands below the one before.
        page: of the figure.
    """
    budget = data.budgets[index]
    axes.axvline(budget.share, color=PINK, ls="-.", zorder=1)
    below = index * LINE_HEIGHT * page.small + (MARK_HEIGHT if data.lower.points else 0)
    text = budget.text.split(" = ")[0] if page.is_narrow else budget.text
    minimize = data.baseline.direction == "minimize"
    height, down = (1.0, -5 - below) if minimize else (0.0, 5 + below)
    side, ha = _roomy_side(budget.share, data.shares)
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": DARK_PINK}
    return annotate(axes, text, (budget.share, height), (side, down), **style)


def _draw_level(axes: Axes, data: ParetoData, level: SizeLine) -> Annotation:
    """The smallest size that keeps a score, with its text on the good side.

    Args:
        axes: to draw on.
        data: of the figure.
        level: to draw.
    """
    axes.axvline(level.share, color=GREY, ls=":", lw=1.0, zorder=1)
    height, up = (0.0, 5) if data.baseline.direction == "minimize" else (1.0, -5)
    side, ha = _roomy_side(level.share, data.shares)
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": GREY}
    return annotate(axes, level.text, (level.share, height), (side, up), **style)


def _roomy_side(share: float, shares: Pair) -> tuple[float, str]:
    """On which side of a vertical line a text has more room: its offset and its alignment.

    Args:
        share: where the line stands.
        shares: ends of the axis.
    """
    left, right = (abs(math.log(end / share)) for end in shares)
    return (5, "left") if right >= left else (-5, "right")


def _name_references(figure: Figure, data: ParetoData, texts: Sequence[Artist]) -> None:
    """Names of the references; with their scores where these lie beyond the axis.

    Args:
        figure: with everything else.
        data: of the figure.
        texts: that the names keep away from.
    """
    low, high = data.view.low, data.view.high
    names = []
    for point in data.references.points:
        shown = min(max(point.score, low), high)
        outside = "" if shown == point.score else f": {format_score(point.score)}"
        names.append(PointName(f"{point.name}{outside}", (point.share, shown)))
    drawn = [*data.trials.pairs, *data.stopped.pairs, *data.references.pairs]
    pairs = [(share, min(max(score, low), high)) for share, score in drawn]
    end = high if data.baseline.direction == "minimize" else low
    pairs += [(point.share, end) for point in data.lower.points]
    place_names(figure, names, pairs, texts)
