"""What the figures share as drawings: colours, sizes, settings and small helpers.

Colours are those of Okabe and Ito, and every series has a marker shape of its own, so that the
figures can be read by colour-blind people and in grey print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autoquant.budget import readable
from autoquant.figures.labels import format_score
from autoquant.figures.score_view import ScoreView
from autoquant.figures.study_data import OutcomePoint, Pair
from autoquant.study.baseline_record import BaselineRecord

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "autoquant", "font.size": 10.0}
"""Of matplotlib; with a fixed salt the same study gives the same SVG."""
SMALL = 9
"""Size of small texts, in points; no text is smaller."""
LEGEND: dict[str, Any] = {"loc": "outside lower center", "fontsize": SMALL, "frameon": False}
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#606060", "#9DB7CC"
LIGHT_BLUE = "#4D9DCE"
DARK_PINK = "#93396F"  # of texts
HOLLOW = "-"
"""Before a marker: only its outline is drawn."""
ROUND_SHARES = (  # of the float model, for ticks
    *(0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0),
)

Color = tuple[float, ...]
"""Red, green, blue and opacity, from 0 to 1."""
TableCell = tuple[str, Color, str]
"""A text, the colour behind it and the text's colour."""


def annotate(axes: Axes, text: str, at: Pair, offset: Pair = (5, 5), **style: Any) -> None:
    """Write a small text beside a point, above or below it as the offset says.

    Args:
        axes: to write on.
        text: to write.
        at: the point, in the coordinates of the axes.
        offset: of the text from the point, in points; above it where y is positive.
        **style: further arguments of ``Axes.annotate``.
    """
    va = "bottom" if offset[1] > 0 else "top" if offset[1] else "center"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style = {"va": va, "bbox": box, "fontsize": SMALL, "zorder": 2, **style}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def scatter(
    axes: Axes, pairs: Sequence[Pair], marker: str, size: float, color: str, label: str
) -> None:
    """Draw a marker at every position; nothing, not even a label, where there are none.

    Args:
        axes: to draw on.
        pairs: positions.
        marker: as matplotlib names it; hollow after ``HOLLOW``.
        size: of the marker, in points squared.
        color: of the marker.
        label: in the legend.
    """
    style: dict[str, Any] = {"facecolors": color, "edgecolors": "white", "linewidths": 0.6}
    if marker.startswith(HOLLOW):
        style = {"facecolors": "none", "edgecolors": color, "linewidths": 1.3}
    if pairs:
        x, y = zip(*pairs, strict=True)
        axes.scatter(x, y, s=size, marker=marker.lstrip(HOLLOW), label=label, zorder=3, **style)


def error_bars(axes: Axes, points: Sequence[OutcomePoint], color: str) -> None:
    """Draw the standard error of every score as a vertical bar; nothing where it is not known.

    Args:
        axes: to draw on.
        points: with errors.
        color: of the bars.
    """
    known = [point for point in points if not math.isnan(point.error)]
    if known:
        x, y = zip(*(point.at for point in known), strict=True)
        errors = [point.error for point in known]
        style: dict[str, Any] = {"fmt": "none", "ecolor": color, "elinewidth": 1.2, "zorder": 2.5}
        axes.errorbar(x, y, errors, capsize=5, label="± standard error", **style)


def draw_undrawn(axes: Axes, undrawn: Sequence[str]) -> None:
    """Name in the legend what has no place in the figure.

    Args:
        axes: whose legend it is.
        undrawn: how many of which state: "1 diverged".
    """
    if undrawn:
        axes.plot([], [], " ", label=f"not drawn: {', '.join(undrawn)}")


def legend(figure: Figure, axes: Axes) -> None:
    """Put a legend below a figure, in as many columns as the length of its labels permits.

    Args:
        figure: 8 inches wide.
        axes: whose labels it shows.
    """
    longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
    figure.legend(ncols=3 if longest <= 31 else 2 if longest <= 54 else 1, **LEGEND)


def score_axis(axes: Axes, view: ScoreView, baseline: BaselineRecord, split: str = "") -> None:
    """Set up the score axis, and draw the float model's score across it.

    Args:
        axes: whose y axis it is.
        view: the part that is shown.
        baseline: the float model.
        split: what the label adds after the metric; the line of the float model is not in the
            legend then, because another axes of the figure has it.
    """
    axes.set_ylabel(f"{baseline.metric}{split} ({better(baseline)} is better)")
    if view.log:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    axes.set_ylim(view.low, view.high)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    text = float_model_label(baseline)
    axes.axhline(baseline.score, color=GREY, ls="--", zorder=1, label="" if split else text)


def better(baseline: BaselineRecord) -> str:
    """Which scores are better: "lower" or "higher".

    Args:
        baseline: the float model.
    """
    return "lower" if baseline.direction == "minimize" else "higher"


def float_model_label(baseline: BaselineRecord) -> str:
    """Score and size of the float model.

    Args:
        baseline: the float model.
    """
    return f"float model: {format_score(baseline.score)}, {readable(baseline.size_bytes)}"


def draw_table(axes: Axes, rows: Sequence[Sequence[TableCell]], column_gap: float = 1.5) -> None:
    """Draw a table of coloured cells with white lines between them.

    Args:
        axes: that the table fills.
        rows: cells, row by row.
        column_gap: width of the lines between columns, in points.
    """
    row_count, column_count = len(rows), len(rows[0])
    axes.imshow([[color for _, color, _ in row] for row in rows], aspect="auto")
    for i, j in np.ndindex(row_count, column_count):
        text, _, text_color = rows[i][j]
        axes.text(j, i, text, ha="center", va="center", color=text_color, fontsize=SMALL)
    row_lines, column_lines = np.arange(row_count + 1) - 0.5, np.arange(column_count + 1) - 0.5
    axes.hlines(row_lines, -0.5, column_count - 0.5, color="white", lw=1.5)
    axes.vlines(column_lines, -0.5, row_count - 0.5, color="white", lw=column_gap)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def share_ticks(left: float, right: float) -> list[float]:
    """Round shares of the float model between two limits, at most 8 of them where possible.

    Args:
        left: least share.
        right: largest share.
    """
    for candidates in (ROUND_SHARES, [2.0**k for k in range(-12, 5)]):
        ticks = [tick for tick in candidates if left <= tick <= right]
        if 3 <= len(ticks) <= 8:
            return ticks
    return [float(t) for t in MaxNLocator(5).tick_values(left, right) if left <= t <= right]


def share_axis(axes: Axes, shares: Pair, float_bytes: int) -> None:
    """Set up a logarithmic size axis: shares of the float model below, the same in bytes above.

    Args:
        axes: whose x axis it is.
        shares: its ends.
        float_bytes: of the float model.
    """
    ticks = share_ticks(*shares)
    axes.set_xscale("log", base=2)
    axes.set_xlim(*shares)
    axes.set_xticks(ticks, [f"{tick:.3g}x" for tick in ticks])
    axes.set_xlabel("packed size, as a share of the float model")
    top = axes.secondary_xaxis("top")
    top.set_xticks(ticks, [readable(tick * float_bytes) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_minor_locator(NullLocator())


def mark_beyond(axes: Axes, pairs: Sequence[Pair], view: ScoreView, noun: str = "trial") -> None:
    """Draw arrows at the ends of the score axis for the scores outside it.

    Args:
        axes: to draw on.
        pairs: positions of all scores.
        view: the part of the score axis that is shown.
        noun: what a position is, in the legend.
    """
    label = f"{view.beyond} {noun if view.beyond == 1 else f'{noun}s'} beyond the axis"
    for end, marker in ((view.low, "v"), (view.high, "^")):
        outside = [x for x, y in pairs if (y < end if marker == "v" else y > end)]
        if outside:
            ends = [end] * len(outside)
            axes.plot(outside, ends, marker, color=RED, ms=8, clip_on=False, label=label)


def mark_unscored(
    axes: Axes, positions: Sequence[float], baseline: BaselineRecord, label: str
) -> None:
    """Mark trials at the bad end of the score axis: their last score does not compare with others.

    Args:
        axes: to draw on.
        positions: of the trials along x.
        baseline: the float model, which says which end is bad.
        label: in the legend.
    """
    height, marker = (0.97, "v") if baseline.direction == "minimize" else (0.03, "^")
    style: dict[str, Any] = {"mfc": "none", "mec": GREY, "ms": 6, "label": label}
    if positions:
        heights = [height] * len(positions)
        axes.plot(positions, heights, marker, transform=axes.get_xaxis_transform(), **style)


def plain_log_ticks(axis: Axis) -> None:
    """Use round numbers on a logarithmic axis, written without exponents.

    Args:
        axis: a logarithmic one.
    """
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_score(value)))
