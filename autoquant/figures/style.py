"""What the figures share as drawings: colours, sizes, settings and small helpers.

Colours are those of Okabe and Ito, and every series has a marker shape of its own, so that the
figures survive colour blindness and grey print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autoquant.budget import readable
from autoquant.figures.study_data import Pair, View, number
from autoquant.study.folder import Baseline

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "autoquant", "font.size": 10.0}  # one study, one SVG
SMALL = 9  # points; no letters are smaller
LEGEND: dict[str, Any] = {"loc": "outside lower center", "fontsize": SMALL, "frameon": False}
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#606060", "#9DB7CC"

Tile = tuple[str, tuple[float, ...], str]
"""A text, the colour behind it and its own."""


def write(axes: Axes, text: str, at: Pair, offset: Pair = (5, 5), **style: Any) -> None:
    """A small text beside a point, above or below it as the offset says."""
    va = "bottom" if offset[1] > 0 else "top" if offset[1] else "center"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style = {"va": va, "bbox": box, "fontsize": SMALL, "zorder": 2, **style}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def scatter(
    axes: Axes, pairs: Sequence[Pair], marker: str, size: float, color: str, label: str
) -> None:
    """Markers; a marker that begins with "-" is hollow."""
    hollow = marker.startswith("-")
    style: dict[str, Any] = {"facecolors": "none", "edgecolors": color, "linewidths": 1.3}
    if not hollow:
        style = {"facecolors": color, "edgecolors": "white", "linewidths": 0.6}
    if pairs:
        x, y = zip(*pairs, strict=True)
        axes.scatter(x, y, s=size, marker=marker.lstrip("-"), label=label, zorder=3, **style)


def legend(figure: Figure, axes: Axes) -> None:
    """A legend below figures that are 8 inches wide, in as many columns as its labels let it."""
    longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
    figure.legend(ncols=3 if longest <= 31 else 2 if longest <= 54 else 1, **LEGEND)


def score_axis(axes: Axes, view: View, baseline: Baseline, split: str = "") -> None:
    """The score axis, and the float model's score across it."""
    better = "lower" if baseline.direction == "minimize" else "higher"
    axes.set_ylabel(f"{baseline.metric}{split} ({better} is better)")
    if view.log:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    axes.set_ylim(view.low, view.high)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    text = f"float model: {number(baseline.score)}, {readable(baseline.size_bytes)}"
    axes.axhline(baseline.score, color=GREY, ls="--", zorder=1, label="" if split else text)


def draw_tiles(axes: Axes, rows: Sequence[Sequence[Tile]], gap: float = 1.5) -> None:
    """A table of coloured tiles, white lines between them; ``gap``: between columns, in points."""
    count, wide = len(rows), len(rows[0])
    axes.imshow([[color for _, color, _ in row] for row in rows], aspect="auto")
    for i, j in np.ndindex(count, wide):
        text, _, ink = rows[i][j]
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=SMALL)
    axes.hlines(np.arange(count + 1) - 0.5, -0.5, wide - 0.5, color="white", lw=1.5)
    axes.vlines(np.arange(wide + 1) - 0.5, -0.5, count - 0.5, color="white", lw=gap)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def share_ticks(left: float, right: float) -> list[float]:
    """Round shares of the float model between two limits, at most 8 of them where that can be."""
    handy = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
    for candidates in (handy, [2.0**k for k in range(-12, 5)]):
        ticks = [tick for tick in candidates if left <= tick <= right]
        if 3 <= len(ticks) <= 8:
            return ticks
    return [float(t) for t in MaxNLocator(5).tick_values(left, right) if left <= t <= right]


def share_axis(axes: Axes, shares: Pair, float_bytes: int) -> None:
    """Shares of the float model below, the same in bytes above; logarithmic, between two limits."""
    ticks = share_ticks(*shares)
    axes.set_xscale("log", base=2)
    axes.set_xlim(*shares)
    axes.set_xticks(ticks, [f"{tick:.3g}x" for tick in ticks])
    axes.set_xlabel("packed size, as a share of the float model")
    top = axes.secondary_xaxis("top")
    top.set_xticks(ticks, [readable(tick * float_bytes) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_minor_locator(NullLocator())


def mark_beyond(axes: Axes, pairs: Sequence[Pair], view: View, what: str = "trial") -> None:
    """Arrows at the edge, for scores beyond it."""
    label = f"{view.beyond} {what if view.beyond == 1 else f'{what}s'} beyond the axis"
    for edge, marker in ((view.low, "v"), (view.high, "^")):
        out = [x for x, y in pairs if (y < edge if marker == "v" else y > edge)]
        if out:
            axes.plot(out, [edge] * len(out), marker, color=RED, ms=8, clip_on=False, label=label)


def mark_unscored(axes: Axes, positions: Sequence[float], baseline: Baseline) -> None:
    """Pruned trials, on the bad edge of the axes: their last score is on another split."""
    edge, marker = (0.97, "v") if baseline.direction == "minimize" else (0.03, "^")
    label = f"pruned ({len(positions)}), no final score"
    style: dict[str, Any] = {"mfc": "none", "mec": GREY, "ms": 6, "label": label}
    if positions:
        heights = [edge] * len(positions)
        axes.plot(positions, heights, marker, transform=axes.get_xaxis_transform(), **style)


def plain_log_ticks(axis: Axis) -> None:
    """Round numbers on a logarithmic axis, written without exponents."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
