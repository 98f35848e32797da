"""The profile figure: which layers are large, and what widening them adds to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.errors import UserError, shown
from autoquant.figures.labels import format_width, shorten, with_decimals
from autoquant.figures.page import MARGIN, PAGE, POINTS, SMALL, Page
from autoquant.figures.study_data import Pair
from autoquant.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PINK,
    RED,
    annotate,
    legend,
    scatter,
)
from autoquant.figures.ticks import LOG_SCALE, log_ticks, use_log_ticks
from autoquant.reading import read_json_file

MOST_BARS = 20
"""Layers in the figure; the smaller ones share one bar."""
NAME_LIMIT, NARROW_NAMES = 28, 18
"""Most characters of a layer's name, on a page and on a narrow one."""
ROW_HEIGHT = 1.7
"""Over the size of the font."""
REASON_ROOM = 0.85
"""Part of a panel that the reason may fill why a layer keeps its width."""
GROWTH_TICKS = 8
"""Along the axis of growth, at most."""
WIDTH_STYLES = tuple(zip("o^sDv", (BLUE, ORANGE, RED, PINK, BLACK), strict=True))
"""Marker and colour of each width, narrowest first; further widths are not drawn."""


@dataclass(frozen=True)
class LayerBar:
    """One layer in the figure.

    Attributes:
        name: of the layer.
        share: of the model's parameters, from 0 to 1.
        growth: pairs of a width and the share of the model's parameters that it adds.
        widenable: whether the layer may be widened.
        reason: why it is widenable or not.
    """

    name: str
    share: float
    growth: tuple[Pair, ...] = ()
    widenable: bool = False
    reason: str = ""


def profile_data(path: Path) -> tuple[LayerBar, ...]:
    """The largest layers of a recorded profile and one bar for the rest; empty without a record.

    Args:
        path: of the study's ``profile.json``.

    Raises:
        UserError: the file is not a profile.
    """
    if not path.is_file():
        return ()
    try:
        layers = read_json_file(path)["layers"]
        bars = sorted((_bar(layer) for layer in layers), key=lambda bar: -bar.share)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' must hold a profile, got {shown(error)}") from error
    listed, rest = bars[:MOST_BARS], bars[MOST_BARS:]
    if rest:
        name = f"{len(rest)} smaller layers"
        listed.append(LayerBar(name, sum(bar.share for bar in rest)))
    return tuple(listed)


def _bar(layer: dict[str, Any]) -> LayerBar:
    """A layer as the file records it, checked."""
    return LayerBar(
        name=shorten(str(layer["name"])),
        share=float(layer["share"]),
        growth=tuple(
            (float(growth["width"]), float(growth["added_share"])) for growth in layer["growth"]
        ),
        widenable=bool(layer["widenable"]),
        reason=str(layer["reason"]),
    )


def draw_profile(bars: Sequence[LayerBar], page: Page = PAGE) -> Figure:
    """Shares on the left, costs of widening on the right.

    Args:
        bars: from top to bottom.
        page: that the figure is for.
    """
    height = page.font / POINTS * (ROW_HEIGHT * len(bars) + 6)
    figure, (left, right) = page.panels(2, height, (1.0, 1.0))
    limit = NARROW_NAMES if page.is_narrow else NAME_LIMIT
    names = [shorten(bar.name, limit) for bar in bars]
    longest = max(map(len, names))
    for panel in (left, right):
        panel.set_yticks(range(len(bars)), names, fontsize=SMALL)
        panel.set_ylim(len(bars) - 0.4, -0.6)
    _draw_shares(left, bars)
    page.x_label(left, "% of the model's parameters")
    across = page.characters(MARGIN * page.width, page.small) - longest
    room = across if page.is_narrow else (across - 4) // 2
    _draw_growth(right, bars, int(REASON_ROOM * room))
    scale = f" {LOG_SCALE}" if right.get_xscale() == "log" else ""
    page.x_label(right, f"% that growing the layer adds{scale}")
    if not page.is_narrow:
        right.tick_params(labelleft=False, left=False)
    legend(figure, page)
    return figure


def _draw_shares(axes: Axes, bars: Sequence[LayerBar]) -> None:
    """Each layer's share of the parameters, told apart by whether it may be widened."""
    styles = {True: (GREEN, "//", "may be widened"), False: (PALE, "", "keeps its width")}
    for widenable, (color, hatch, label) in styles.items():
        pairs = [(i, 100 * bar.share) for i, bar in enumerate(bars) if bar.widenable == widenable]
        if pairs:
            rows, shares = zip(*pairs, strict=True)
            axes.barh(rows, shares, 0.75, color=color, hatch=hatch, edgecolor="white", label=label)
    for i, bar in enumerate(bars):
        annotate(axes, f"{with_decimals(100 * bar.share, 1)}%", (100 * bar.share, i), (4, 0))
    axes.set_xlim(0, 125 * max(bar.share for bar in bars))


def _draw_growth(axes: Axes, bars: Sequence[LayerBar], room: int) -> None:
    """What each width of a layer adds; for a layer that cannot be widened, why.

    Args:
        axes: to draw on.
        bars: from top to bottom.
        room: most characters of a reason.
    """
    widths = sorted({width for bar in bars for width, _ in bar.growth})
    for width, (marker, color) in zip(widths, WIDTH_STYLES, strict=False):
        pairs = [
            (100 * added, i) for i, bar in enumerate(bars) for w, added in bar.growth if w == width
        ]
        scatter(axes, pairs, marker, 40, color, f"grown {format_width(width)}")
    for i, bar in enumerate(bars):
        if not bar.growth:
            style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "color": GREY}
            annotate(axes, shorten(bar.reason, room), (0.0, i), (5, 0), **style)
    if widths:
        axes.set_xscale("log")
        _use_growth_ticks(axes)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _use_growth_ticks(axes: Axes) -> None:
    """Round numbers along the axis, at least two."""
    ticks = log_ticks(*axes.get_xlim(), GROWTH_TICKS)
    use_log_ticks(axes.xaxis, ticks, [f"{tick:g}" for tick in ticks])
