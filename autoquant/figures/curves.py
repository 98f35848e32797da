"""The curves of a sweep: score against true size, and at equal true size against width."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.labels import format_width, shorten
from autoquant.figures.page import PAGE, Page
from autoquant.figures.placement import PointName, place_names
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import Pair
from autoquant.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    draw_undrawn,
    legend,
    mark_beyond,
    score_axis,
    share_axis,
)
from autoquant.figures.sweep_data import SweepData, SweptPlan, sorted_unique
from autoquant.study.baseline_record import BaselineRecord

COLORS = (BLUE, ORANGE, GREEN, RED, PINK)
MARKERS = "os^DvPX"
"""Another number than of colours, so that most curves differ in both."""
LINE_STYLES = ("-", "--", ":", "-.")
"""In turn, where there are more curves than colours."""
PLANS = "plan files"
NAME_LIMIT = 24
"""Most characters of a plan's name."""
HEIGHT, NARROW_HEIGHT = 4.3, 3.0
"""Of a figure without its title and its legend, in inches, on a page and on a narrow one."""


@dataclass(frozen=True)
class CurvePoint:
    """A plan on a curve.

    Attributes:
        x: its share of the float model's bytes, or its width.
        score: mean over its seeds.
        deviation: standard deviation between its seeds.
        name: written beside it; only plans from plan files have one.
    """

    x: float
    score: float
    deviation: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Curve:
    """Plans that differ in one thing.

    Attributes:
        label: in the legend.
        points: from left to right.
        joined: whether a line joins them.
    """

    label: str
    points: tuple[CurvePoint, ...]
    joined: bool = True


@dataclass(frozen=True)
class CurvesData:
    """Everything in a figure of curves.

    Attributes:
        baseline: the float model.
        curves: over shares of the float model's bytes, or over widths.
        view: of the score axis.
        limits: ends of the other axis.
        undrawn: how many runs of which state have no point: "2 diverged".
        seeds: the most seeds that a point is the mean of.
    """

    baseline: BaselineRecord
    curves: tuple[Curve, ...]
    view: ScoreView
    limits: Pair
    undrawn: tuple[str, ...]
    seeds: int


def size_curves(data: SweepData) -> CurvesData | None:
    """Scores over true sizes, a curve for each width and activation bits; None without scores.

    Args:
        data: of the sweep.
    """
    several_widths = len(sorted_unique(plan.width for plan in data.plans)) > 1

    def label(plan: SweptPlan) -> str:
        if plan.activation_bits is None or plan.width is None:
            return PLANS + plan.init_label
        width = f"width {format_width(plan.width)}, " if several_widths else ""
        return f"{width}{plan.activation_bits}-bit activations{plan.init_label}"

    curves = _curves(data.scored, label, lambda plan: plan.share)
    return _curves_data(data, curves, lambda low, high: (low / 1.15, high * 1.15))


def width_curves(data: SweepData) -> CurvesData | None:
    """Scores over widths, a curve for each budget and activation bits; None without budgets.

    Args:
        data: of the sweep.
    """
    several_bits = len(sorted_unique(plan.activation_bits for plan in data.plans)) > 1

    def label(plan: SweptPlan) -> str:
        activations = f", {plan.activation_bits}-bit activations" if several_bits else ""
        return f"budget {plan.budget}{activations}{plan.init_label}"

    of_budgets = [plan for plan in data.scored if plan.budget is not None]
    curves = _curves(of_budgets, label, lambda plan: plan.width)
    return _curves_data(data, curves, _pad_widths)


def _curves(
    plans: Iterable[SweptPlan],
    label: Callable[[SweptPlan], str],
    position: Callable[[SweptPlan], float | None],
) -> tuple[Curve, ...]:
    """Plans with the same label as one curve.

    Args:
        plans: that have a score.
        label: of the curve that a plan lies on.
        position: of a plan along x; a plan without one is left out.
    """
    points: dict[str, list[CurvePoint]] = {}
    for plan in plans:
        x = position(plan)
        if x is not None:
            name = plan.name if plan.activation_bits is None else ""
            point = CurvePoint(x, plan.score, plan.deviation, name)
            points.setdefault(label(plan), []).append(point)
    return tuple(
        Curve(
            name,
            tuple(sorted(of_curve, key=lambda point: point.x)),
            joined=not any(point.name for point in of_curve),
        )
        for name, of_curve in points.items()
    )


def _pad_widths(low: float, high: float) -> Pair:
    padding = 0.06 * (high - low) or 0.1
    return low - padding, high + padding


def _curves_data(
    data: SweepData, curves: tuple[Curve, ...], limits: Callable[[float, float], Pair]
) -> CurvesData | None:
    """Curves with what they share; None where no curve has a point.

    Args:
        data: of the sweep.
        curves: to draw.
        limits: ends of the x axis for the least and the largest x.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return None
    base = data.baseline
    states = [state for plan in data.plans for state in plan.failures]
    return CurvesData(
        baseline=base,
        curves=curves,
        view=view_of([point.score for point in points], base.direction, [base.score]),
        limits=limits(min(point.x for point in points), max(point.x for point in points)),
        undrawn=tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        seeds=data.seeds,
    )


# --- drawing -------------------------------------------------------------------------------------


def draw_sizes(data: CurvesData, page: Page = PAGE) -> Figure:
    """Size on a logarithmic axis, score above it.

    Args:
        data: curves over shares of the float model's bytes.
        page: that the figure is for.
    """
    figure = page.figure(NARROW_HEIGHT if page.is_narrow else HEIGHT)
    axes = figure.add_subplot()
    share_axis(axes, data.limits, data.baseline.size_bytes, page)
    _draw(figure, data, page, "score against true size")
    return figure


def draw_widths(data: CurvesData, page: Page = PAGE) -> Figure:
    """Width, score above it; along a curve the true size is the same.

    Args:
        data: curves over widths.
        page: that the figure is for.
    """
    figure = page.figure(NARROW_HEIGHT if page.is_narrow else HEIGHT)
    axes = figure.add_subplot()
    widths = sorted({point.x for curve in data.curves for point in curve.points})
    axes.set_xlim(*data.limits)
    axes.set_xticks(widths, [format_width(width) for width in widths])
    page.x_label(axes, "width of the layers that may grow; bits fill the budget")
    _draw(figure, data, page, "score against width, at equal true size")
    return figure


def _draw(figure: Figure, data: CurvesData, page: Page, title: str) -> None:
    """Draw what both figures have: score axis, curves, names, legend.

    Args:
        figure: with one axes, whose x axis is set up.
        data: to draw.
        page: of the figure.
        title: of the figure.
    """
    (axes,) = figure.axes
    bars = f"; bars: standard deviation of {data.seeds} seeds" if data.seeds > 1 else ""
    page.title(figure, f"{title}{bars}")
    score_axis(axes, data.view, data.baseline, page)
    for i, curve in enumerate(data.curves):
        _draw_curve(axes, curve, **_style(i, curve))
    pairs = [(point.x, point.score) for curve in data.curves for point in curve.points]
    mark_beyond(axes, pairs, data.view, "plan")
    draw_undrawn(axes, data.undrawn)
    legend(figure, page)
    points = [point for curve in data.curves for point in curve.points]
    names = [PointName(shorten(p.name, NAME_LIMIT), (p.x, p.score)) for p in points if p.name]
    place_names(figure, names, pairs)


def _style(index: int, curve: Curve) -> dict[str, str]:
    """Colour, marker and line of a curve, by its index among the curves."""
    if not curve.joined:
        return {"marker": "*", "color": BLACK, "ls": "none"}
    turn, color = divmod(index, len(COLORS))
    marker = MARKERS[index % len(MARKERS)]
    return {"marker": marker, "color": COLORS[color], "ls": LINE_STYLES[turn % len(LINE_STYLES)]}


def _draw_curve(axes: Axes, curve: Curve, **style: str) -> None:
    """Draw the points, the line if they are joined, and error bars if they have deviations.

    Args:
        axes: to draw on.
        curve: to draw.
        **style: marker, color and ls.
    """
    deviations = [point.deviation for point in curve.points]
    axes.errorbar(
        [point.x for point in curve.points],
        [point.score for point in curve.points],
        yerr=deviations if any(deviations) else None,
        ms=None if curve.joined else 11.0,
        capsize=3.0,
        label=curve.label,
        zorder=3,
        **style,  # type: ignore[arg-type]
    )
