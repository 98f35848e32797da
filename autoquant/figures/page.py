"""Page: the width that a figure is drawn for, and the sizes of its texts."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase

from autoquant.errors import UserError, shown

SMALL = "small"
"""Size of small texts, relative to the page's font; no text is smaller."""
SMALL_SCALE = 0.833  # of matplotlib's "small"
CHARACTER = 0.58
"""Mean width of a character, over the size of the font."""
X_ROOM, Y_ROOM = 0.95, 1.15
"""Parts of a panel, as it is before the figure has a layout, that names of its axes may have."""
LINE = 1.3
"""Height of a line, over the size of the font."""
MILLIMETRES, POINTS = 25.4, 72.0
"""Of an inch."""
MARGIN = 0.94
"""Part of the page that texts across it may fill."""


@dataclass(frozen=True)
class Page:
    """The width that a figure is drawn for.

    Attributes:
        name: by which a report selects it.
        millimetres: width of a figure.
        font: size of texts, in points; that of small ones is SMALL_SCALE of it.
    """

    name: str
    millimetres: float
    font: float

    @property
    def width(self) -> float:
        """Of a figure, in inches."""
        return self.millimetres / MILLIMETRES

    @property
    def small(self) -> float:
        """Size of small texts, in points."""
        return SMALL_SCALE * self.font

    @property
    def is_narrow(self) -> bool:
        """Whether panels stand below each other."""
        return self.width < 5

    @property
    def settings(self) -> dict[Any, Any]:
        """Of matplotlib: equal figures are equal files, and texts of PDF files stay texts."""
        scale = self.font / 10
        return {
            "font.size": self.font,
            "lines.linewidth": 1.5 * scale,
            "lines.markersize": 6 * scale,
            "pdf.fonttype": 42,
            "svg.hashsalt": "autoquant",
        }

    def figure(self, height: float) -> Figure:
        """An empty figure.

        Args:
            height: in inches.
        """
        figure = Figure(figsize=(self.width, height), layout="constrained")
        FigureCanvasAgg(figure)  # measures texts
        return figure

    def panels(self, count: int, height: float, ratios: tuple[float, ...]) -> tuple[Figure, Any]:
        """A figure with panels side by side; below each other on a narrow page.

        Args:
            count: of the panels.
            height: of a panel, in inches.
            ratios: of the widths of panels side by side.
        """
        if self.is_narrow:
            figure = self.figure(height * count)
            return figure, [*figure.subplots(count, 1, squeeze=False)[:, 0]]
        figure = self.figure(height)
        return figure, [*figure.subplots(1, count, squeeze=False, width_ratios=ratios)[0]]

    def characters(self, inches: float, size: float | None = None) -> int:
        """How many characters fit into a width.

        Args:
            inches: the width.
            size: of the font in points; that of the page when None.
        """
        return max(4, int(POINTS * inches / (CHARACTER * (size or self.font))))

    def wrapped(self, text: str, inches: float | None = None) -> str:
        """A text on as many lines as it needs; lines that it has stay lines.

        Args:
            text: in the page's font.
            inches: that a line may fill; most of the page when None.
        """
        most = self.characters(MARGIN * self.width if inches is None else inches)
        lines = [textwrap.wrap(line, most, break_long_words=False) for line in text.split("\n")]
        return "\n".join(part for parts in lines for part in parts)

    def title(self, figure: Figure, text: str) -> None:
        """Write the title of a figure, which becomes higher by the lines of the title.

        Args:
            figure: of this page.
            text: the title.
        """
        lines = self.wrapped(text)
        figure.suptitle(lines, fontsize="medium")
        inches = LINE * self.font / POINTS * (lines.count("\n") + 1)
        figure.set_figheight(figure.get_figheight() + inches)

    def x_label(self, axes: Axes, text: str) -> None:
        """Write the name of an x axis, on lines that are as long as the axis.

        Args:
            axes: of this page.
            text: the name.
        """
        axes.set_xlabel(self.wrapped(text, X_ROOM * self._inches(axes).width))

    def y_label(self, axes: Axes, text: str) -> None:
        """Write the name of a y axis, on lines that are as long as a panel of this page is high.

        Args:
            axes: of this page.
            text: the name.
        """
        axes.set_ylabel(self.wrapped(text, Y_ROOM * self._inches(axes).height))

    def _inches(self, axes: Axes) -> BboxBase:
        """Where a panel is, before its figure has a layout."""
        return axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())


def settle(figure: Figure) -> None:
    """Give the parts of a figure their places, once: drawing it then costs half of the time.

    Args:
        figure: to which nothing is added around its panels any more.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


PAGE = Page("page", 180.0, 9.6)
"""Both columns of a paper."""
COLUMN = Page("column", 85.0, 8.5)
"""One column of a paper."""
PAGES = {page.name: page for page in (PAGE, COLUMN)}
"""By their names, the default first."""


def page_named(name: object) -> Page:
    """The page that figures are drawn for.

    Args:
        name: "page" or "column".

    Raises:
        UserError: there is no such page.
    """
    if not isinstance(name, str) or name not in PAGES:
        raise UserError(f"width must be one of {', '.join(PAGES)}, got {shown(name)}")
    return PAGES[name]
