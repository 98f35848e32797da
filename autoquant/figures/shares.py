"""The profile figure: which layers are large, and what growing them costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.errors import UserError
from autoquant.figures.study_data import Pair, shortened, times
from autoquant.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LEGEND,
    ORANGE,
    PALE,
    PINK,
    RED,
    SMALL,
    plain_log_ticks,
    scatter,
    write,
)

MOST_BARS = 25  # layers in the figure


@dataclass(frozen=True)
class Bar:
    """One layer: its share of the parameters and, for each width, the share that growing adds."""

    name: str
    share: float
    growth: tuple[Pair, ...] = ()
    widenable: bool = False
    reason: str = ""


def profile_data(path: Path) -> tuple[Bar, ...]:
    """The largest layers of a recorded profile and one bar for the rest; empty without a record.

    Raises:
        UserError: the file is not a profile.
    """
    if not path.is_file():
        return ()
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        bars = sorted((_bar(layer) for layer in layers), key=lambda bar: -bar.share)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' must hold a profile, got {error!r}") from error
    shown, rest = bars[:MOST_BARS], bars[MOST_BARS:]
    if rest:
        shown.append(Bar(f"... and {len(rest)} smaller layers", sum(bar.share for bar in rest)))
    return tuple(shown)


def _bar(layer: dict[str, Any]) -> Bar:
    growth = tuple((float(each["width"]), float(each["added_share"])) for each in layer["growth"])
    name, share = shortened(str(layer["name"])), float(layer["share"])
    return Bar(name, share, growth, bool(layer["widenable"]), str(layer["reason"]))


def draw_profile(bars: Sequence[Bar]) -> Figure:
    """Shares on the left, costs of growing on the right."""
    figure = Figure(figsize=(10.5, 1.8 + 0.32 * len(bars)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    looks = {True: (GREEN, "//", "may be widened"), False: (PALE, "", "keeps its width")}
    for widenable, (color, hatch, label) in looks.items():
        of = [(i, 100 * bar.share) for i, bar in enumerate(bars) if bar.widenable == widenable]
        rows, shares = zip(*of, strict=True) if of else ((), ())
        left.barh(rows, shares, 0.75, color=color, hatch=hatch, edgecolor="white", label=label)
    for i, bar in enumerate(bars):
        write(left, f"{100 * bar.share:.3g}%", (100 * bar.share, i), (4, 0))
    left.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=SMALL)
    left.set_ylim(len(bars) - 0.4, -0.6)
    left.set_xlim(0, 120 * max(bar.share for bar in bars))
    left.set_xlabel("% of the model's parameters")
    _draw_growth(right, bars)
    figure.legend(ncols=6, **LEGEND)
    return figure


def _draw_growth(axes: Axes, bars: Sequence[Bar]) -> None:
    """What each growth adds; for a layer that cannot grow, why."""
    widths = sorted({width for bar in bars for width, _ in bar.growth})
    looks = zip(widths, "o^sDv", (BLUE, ORANGE, RED, PINK, BLACK), strict=False)
    for width, marker, color in looks:
        at = [(100 * cost, i) for i, bar in enumerate(bars) for w, cost in bar.growth if w == width]
        scatter(axes, at, marker, 40, color, f"grown {times(width)}")
    for i, bar in enumerate(bars):
        if not bar.growth:
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "color": GREY}
            write(axes, shortened(bar.reason, 48), (0.0, i), (5, 0), **where)
    axes.set_xlabel("% that growing the layer adds to the model")
    if widths:
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    axes.tick_params(left=False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
