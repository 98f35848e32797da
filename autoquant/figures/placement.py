"""Names of points, placed so that they cover neither each other nor other points and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adjustText import adjust_text
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from autoquant.figures.page import POINTS, SMALL, settle
from autoquant.figures.study_data import Pair

ITERATIONS = 400
"""Of the placement, at most. A number of steps and no time, so that equal data give equal files."""
MARKER = 9.0
"""Of a point, in points: what its names keep away from."""
MIN_LINE = 16
"""Distance of a name from its point, in pixels, from which on a line joins them."""
ROOM = (1.08, 1.25)
"""Around texts, over their widths and heights."""


@dataclass(frozen=True)
class PointName:
    """The name of a point in a figure.

    Attributes:
        text: to write.
        at: the point, in the coordinates of the axes.
    """

    text: str
    at: Pair


def place_names(
    figure: Figure,
    names: Sequence[PointName],
    points: Sequence[Pair],
    texts: Sequence[Artist] = (),
) -> None:
    """Write names beside their points; those that had to move away are joined with them by a line.

    To be called when everything else is drawn, the legend and the title too.

    Args:
        figure: with one panel, whose limits are final.
        names: to write.
        points: positions of all markers, those with names too; names keep away from them.
        texts: others that the names keep away from.
    """
    if not names:
        return
    (axes,) = figure.axes
    settle(figure)
    in_data = axes.transData.inverted()
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style: dict[str, Any] = {"fontsize": SMALL, "bbox": box, "zorder": 4, "clip_on": False}
    written: list[Text] = [axes.text(*name.at, name.text, **style) for name in names]
    radius = MARKER / 2 * figure.dpi / POINTS
    markers = [Bbox([at, at]).padded(radius) for at in axes.transData.transform(points)]
    boxes = [*markers, *(text.get_window_extent() for text in texts)]
    adjust_text(
        written,
        objects=[box.transformed(in_data) for box in boxes],
        ax=axes,
        expand=ROOM,
        iter_lim=ITERATIONS,
        min_arrow_len=MIN_LINE,
        arrowprops={"arrowstyle": "-", "color": "#606060", "lw": 0.6, "zorder": 1.5},
    )
