"""What the figures share as drawings: colours, sizes, settings and small helpers.

Colours are those of Okabe and Ito, and every series has a marker shape of its own, so that the
figures can be read by colour-blind people and in grey print.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from autoquant.budget import readable
from autoquant.figures.labels import format_score
from autoquant.figures.page import SMALL, Page
from autoquant.figures.score_view import ScoreView
from autoquant.figures.study_data import OutcomePoint, Pair
from autoquant.figures.ticks import LOG_SCALE, MOST_TICKS, byte_texts, log_ticks, use_log_ticks
from autoquant.study.baseline_record import BaselineRecord

LEGEND: dict[str, Any] = {
    "loc": "outside lower center",
    "fontsize": SMALL,
    "frameon": False,
    "columnspacing": 1.5,
    "labelspacing": 0.65,
    "markerscale": 0.85,
}
MOST_COLUMNS = 6
"""Of a legend."""
LEGEND_HANDLE = 0.7
"""Inches of a line in a legend that its text cannot have."""
VALIDATION = "on the validation split"
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#606060", "#9DB7CC"
LIGHT_BLUE = "#4D9DCE"
DARK_PINK = "#93396F"  # of texts
FONT = 10.0
"""Size of texts that sizes of markers are for, in points; they become smaller with the texts."""
HOLLOW = "-"
"""Before a marker: only its outline is drawn."""
TICK_CHARACTERS = 9
"""Of the texts along a size axis, with the room between them."""

Color = tuple[float, ...]
"""Red, green, blue and opacity, from 0 to 1."""
TableCell = tuple[str, Color, str]
"""A text, the colour behind it and the text's colour."""


def annotate(axes: Axes, text: str, at: Pair, offset: Pair = (5, 5), **style: Any) -> Annotation:
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
    return axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def scatter(
    axes: Axes, pairs: Sequence[Pair], marker: str, size: float, color: str, label: str
) -> None:
    """Draw a marker at every position; nothing, not even a label, where there are none.

    Args:
        axes: to draw on.
        pairs: positions.
        marker: as matplotlib names it; hollow after ``HOLLOW``.
        size: of the marker, in points squared, beside texts of the size FONT.
        color: of the marker.
        label: in the legend.
    """
    style: dict[str, Any] = {"facecolors": color, "edgecolors": "white", "linewidths": 0.6}
    if marker.startswith(HOLLOW):
        style = {"facecolors": "none", "edgecolors": color, "linewidths": 1.3}
    if pairs:
        x, y = zip(*pairs, strict=True)
        size *= (matplotlib.rcParams["font.size"] / FONT) ** 2
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


def legend(figure: Figure, page: Page) -> None:
    """Put a legend below a figure, in as many columns as have room; the figure becomes higher.

    Args:
        figure: whose axes have labels.
        page: of the figure.
    """
    pairs = [
        pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    width = page.characters(page.width - LEGEND_HANDLE, page.small)
    texts = [textwrap.fill(label, width) for _, label in pairs]
    handles = [handle for handle, _ in pairs]
    drawn = figure.legend(handles, texts, ncols=1, **LEGEND)
    room = figure.bbox.width / drawn.get_window_extent().width
    columns = min(int(room), MOST_COLUMNS, len(pairs))
    if columns > 1:
        drawn.remove()
        drawn = figure.legend(handles, texts, ncols=columns, **LEGEND)
    height = drawn.get_window_extent().height / figure.dpi
    figure.set_figheight(figure.get_figheight() + height)


def score_axis(
    axes: Axes, view: ScoreView, baseline: BaselineRecord, page: Page, split: str = VALIDATION
) -> None:
    """Set up the score axis, and draw the float model's score across it.

    Args:
        axes: whose y axis it is.
        view: the part that is shown.
        baseline: the float model.
        page: of the figure.
        split: of the scores; the float model's score is on the validation split, so that its line
            is drawn for that split alone.
    """
    scale = ""
    if view.log:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
        scale = f" {LOG_SCALE}"
    text = f"{baseline.metric} {split}{scale}\n({better(baseline)} is better)"
    page.y_label(axes, text)
    axes.set_ylim(view.low, view.high)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    if split == VALIDATION:
        label = float_model_label(baseline)
        axes.axhline(baseline.score, color=GREY, ls="--", zorder=1, label=label)


def better(baseline: BaselineRecord) -> str:
    """Which scores are better: "lower" or "higher".

    Args:
        baseline: the float model.
    """
    return "lower" if baseline.direction == "minimize" else "higher"


def float_model_label(baseline: BaselineRecord) -> str:
    """Score on the validation split and size of the float model.

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


def share_ticks(left: float, right: float, most: int = MOST_TICKS) -> list[float]:
    """Round shares of the float model between two limits.

    Args:
        left: least share.
        right: largest share.
        most: of them that have room.
    """
    return log_ticks(left, right, most)


def share_axis(axes: Axes, shares: Pair, float_bytes: int, page: Page) -> None:
    """Set up a logarithmic size axis: shares of the float model below, bytes above.

    Each of the two has round numbers of its own.

    Args:
        axes: whose x axis it is.
        shares: its ends.
        float_bytes: of the float model.
        page: of the figure.
    """
    most = page.characters(0.8 * page.width) // TICK_CHARACTERS
    ticks = share_ticks(*shares, most)
    axes.set_xscale("log")
    axes.set_xlim(*shares)
    use_log_ticks(axes.xaxis, ticks, [f"{tick:g}x" for tick in ticks])
    page.x_label(axes, f"packed size, as a share of the float model {LOG_SCALE}")
    top = axes.secondary_xaxis("top")
    sizes = log_ticks(shares[0] * float_bytes, shares[1] * float_bytes, most)
    top.set_xticks([size / float_bytes for size in sizes], byte_texts(sizes))
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xlabel(f"packed size {LOG_SCALE}")


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
