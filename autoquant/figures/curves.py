"""The curves of a sweep: score against true size, and at equal true size against width."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.study_data import Pair, View, shortened, times, view_of
from autoquant.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    legend,
    mark_beyond,
    score_axis,
    share_axis,
    write,
)
from autoquant.figures.sweep_data import Mean, SweepFacts, rising
from autoquant.study.folder import Baseline

COLORS = (BLUE, ORANGE, GREEN, RED, PINK)
MARKERS = "os^DvPX"  # another number than of colours: a curve of one plan can be told by its mark
STYLES = ("-", "--", ":", "-.")  # in turn, where curves outnumber colours
PLANS = "plan files"


@dataclass(frozen=True)
class Spot:
    """A plan on a curve: where, its mean score and the standard deviation between its seeds.

    Plan files have a name beside them.
    """

    at: float
    score: float
    spread: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Curve:
    """Plans that differ in one thing; ``joined`` by a line, or each for itself."""

    label: str
    spots: tuple[Spot, ...]
    joined: bool = True


@dataclass(frozen=True)
class CurvesData:
    """Everything in a figure of curves.

    Attributes:
        baseline: the float model.
        curves: over shares of the float model's bytes, or over widths.
        view: of the score axis.
        limits: of the other axis.
        undrawn: how many cells of which state have no spot: "2 diverged".
        seeds: the most seeds that a spot is the mean of.
    """

    baseline: Baseline
    curves: tuple[Curve, ...]
    view: View
    limits: Pair
    undrawn: tuple[str, ...]
    seeds: int


def size_curves(facts: SweepFacts) -> CurvesData | None:
    """Scores over true sizes, a curve for each width and activation bits; None without scores."""
    several = len(rising(mean.width for mean in facts.means)) > 1

    def label(mean: Mean) -> str:
        if mean.activation_bits is None or mean.width is None:
            return PLANS + mean.start
        width = f"width {times(mean.width)}, " if several else ""
        return f"{width}{mean.activation_bits}-bit activations{mean.start}"

    curves = _curves(facts.scored, label, lambda mean: mean.share)
    return _data(facts, curves, lambda low, high: (low / 1.15, high * 1.15))


def width_curves(facts: SweepFacts) -> CurvesData | None:
    """Scores over widths, a curve for each budget and activation bits; None without budgets."""
    several = len(rising(mean.activation_bits for mean in facts.means)) > 1

    def label(mean: Mean) -> str:
        activations = f", {mean.activation_bits}-bit activations" if several else ""
        return f"budget {mean.budget}{activations}{mean.start}"

    filled = [mean for mean in facts.scored if mean.budget is not None]
    curves = _curves(filled, label, lambda mean: mean.width)
    return _data(facts, curves, _around)


def _curves(
    means: Iterable[Mean], label: Callable[[Mean], str], where: Callable[[Mean], float | None]
) -> tuple[Curve, ...]:
    found: dict[str, list[Spot]] = {}
    for mean in means:
        at = where(mean)
        if at is not None:
            name = mean.name if mean.activation_bits is None else ""
            found.setdefault(label(mean), []).append(Spot(at, mean.score, mean.spread, name))
    return tuple(
        Curve(
            name,
            tuple(sorted(spots, key=lambda spot: spot.at)),
            joined=not any(s.name for s in spots),
        )
        for name, spots in found.items()
    )


def _around(low: float, high: float) -> Pair:
    air = 0.06 * (high - low) or 0.1
    return low - air, high + air


def _data(
    facts: SweepFacts, curves: tuple[Curve, ...], limits: Callable[[float, float], Pair]
) -> CurvesData | None:
    spots = [spot for curve in curves for spot in curve.spots]
    if not spots:
        return None
    base = facts.baseline
    view = view_of([spot.score for spot in spots], base.direction, [base.score])
    places = [spot.at for spot in spots]
    states = [state for mean in facts.means for state in mean.lost]
    undrawn = tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    ends = limits(min(places), max(places))
    return CurvesData(base, curves, view, ends, undrawn, facts.seeds)


# --- drawing -------------------------------------------------------------------------------------


def draw_sizes(data: CurvesData) -> Figure:
    """Size on a logarithmic axis, score above it."""
    figure, axes = _started(data, "score against true size")
    share_axis(axes, data.limits, data.baseline.size_bytes)
    _draw(figure, axes, data)
    return figure


def draw_widths(data: CurvesData) -> Figure:
    """Width, score above it; along a curve the true size is the same."""
    figure, axes = _started(data, "score against width, at equal true size")
    widths = sorted({spot.at for curve in data.curves for spot in curve.spots})
    axes.set_xlim(*data.limits)
    axes.set_xticks(widths, [times(width) for width in widths])
    axes.set_xlabel("width of the layers that may grow; bits fill the budget")
    _draw(figure, axes, data)
    return figure


def _started(data: CurvesData, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.add_subplot()
    bars = f"; bars: standard deviation of {data.seeds} seeds" if data.seeds > 1 else ""
    axes.set_title(f"{title}{bars}", fontsize=11)
    return figure, axes


def _draw(figure: Figure, axes: Axes, data: CurvesData) -> None:
    score_axis(axes, data.view, data.baseline)
    for i, curve in enumerate(data.curves):
        _draw_curve(axes, curve, **_look(i, curve))
        for spot in curve.spots:
            if spot.name:
                write(axes, shortened(spot.name), (spot.at, spot.score))
    pairs = [(spot.at, spot.score) for curve in data.curves for spot in curve.spots]
    mark_beyond(axes, pairs, data.view, "plan")
    if data.undrawn:
        axes.plot([], [], " ", label=f"not drawn: {', '.join(data.undrawn)}")
    legend(figure, axes)


def _look(place: int, curve: Curve) -> dict[str, str]:
    """Colour, mark and line of a curve, by its place among the curves."""
    if not curve.joined:
        return {"marker": "*", "color": BLACK, "ls": "none"}
    turn, color = divmod(place, len(COLORS))
    marker = MARKERS[place % len(MARKERS)]
    return {"marker": marker, "color": COLORS[color], "ls": STYLES[turn % len(STYLES)]}


def _draw_curve(axes: Axes, curve: Curve, **look: str) -> None:
    spread = [spot.spread for spot in curve.spots]
    axes.errorbar(
        [spot.at for spot in curve.spots],
        [spot.score for spot in curve.spots],
        yerr=spread if any(spread) else None,
        ms=6.0 if curve.joined else 11.0,
        lw=1.4,
        capsize=3.0,
        label=curve.label,
        zorder=3,
        **look,  # type: ignore[arg-type]
    )
