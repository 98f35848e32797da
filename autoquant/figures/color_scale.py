"""The colours of tables: one scale from pale (good) to dark (bad), and the bar that explains it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure

from autoquant.figures.page import SMALL, Page

PALEST, DARKEST = 0.04, 0.64
"""Ends of the scale in matplotlib's Oranges: black texts can be read on all of it."""
STEPS = 256
WHITE: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
"""Of cells without a value, and of noise."""


def shade(badness: float) -> tuple[float, ...]:
    """The colour of a value.

    Args:
        badness: from 0 (palest) to 1 (darkest); what lies outside has the colour of the end.
    """
    position = PALEST + (DARKEST - PALEST) * min(max(badness, 0.0), 1.0)
    return matplotlib.colormaps["Oranges"](position)


def draw_color_bar(
    figure: Figure,
    panels: Sequence[Axes],
    page: Page,
    label: str,
    ends: tuple[float, float],
    *,
    log: bool,
    dark_is_low: bool = False,
    extend: str = "neither",
) -> Colorbar:
    """Draw the scale beside tables, below them on a narrow page.

    Args:
        figure: of the tables.
        panels: the tables.
        page: of the figure.
        label: what the scale is of.
        ends: the smallest and the largest value of the scale.
        log: whether the scale is logarithmic.
        dark_is_low: whether the smallest value is the darkest.
        extend: "min", "max" or "both" where values beyond an end have its colour.
    """
    colors = [shade(position) for position in np.linspace(0, 1, STEPS)]
    colors = colors[::-1] if dark_is_low else colors
    norm = LogNorm(*ends) if log else Normalize(*ends)
    below = page.is_narrow
    bar = figure.colorbar(
        ScalarMappable(norm, ListedColormap(colors)),
        ax=[*panels],
        location="bottom" if below else "right",
        extend=extend,
        aspect=30,
        fraction=0.08,
        pad=0.02,
    )
    inches = 0.85 * (page.width if below else figure.get_figheight())
    bar.set_label(page.wrapped(label, inches), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return bar
