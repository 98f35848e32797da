"""SweepChart: the scores of a sweep over sizes and over widths; and its heat maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoquant.figures.curves import CurvePoint, CurvesData
from autoquant.figures.heatmap import Heatmap, HeatmapCell, HeatmapData
from autoquant.figures.labels import format_score, format_width
from autoquant.figures.sweep_data import SweepData
from autoquant.report_page.frame import (
    Frame,
    float_line,
    score_label,
    score_scale,
    score_ticks,
    size_frame,
    x_scale,
)
from autoquant.report_page.points import PlotPoint, beyond_axis
from autoquant.report_page.sensitivity_table import SHADES

SERIES = 21
"""Series that differ in colour or mark: there are seven colours and three marks."""


@dataclass(frozen=True)
class Series:
    """A curve of a sweep.

    Attributes:
        number: of its colour and mark.
        label: in the legend.
        line: where its line runs; empty where its points are not joined.
        points: of its plans.
    """

    number: int
    label: str
    line: tuple[tuple[float, float], ...]
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True)
class SweepChart:
    """Scores over sizes, or over widths.

    Attributes:
        frame: the axes.
        series: the curves.
        seeds: the most seeds that a point is the mean of.
        undrawn: what has no place in the chart.
        beyond: how many scores lie beyond the axis.
    """

    frame: Frame
    series: tuple[Series, ...]
    seeds: int
    undrawn: tuple[str, ...]
    beyond: int


def size_chart(
    curves: CurvesData | None, data: SweepData, rows: Mapping[str, str]
) -> SweepChart | None:
    """Scores over sizes; None without scores.

    Args:
        curves: over shares of the float model's bytes.
        data: of the sweep.
        rows: ids of the rows in the table of plans, by the plans' names.
    """
    if curves is None:
        return None
    names = {(plan.share, plan.score): plan.name for plan in data.scored}
    frame = size_frame(curves.limits, curves.view, data.baseline, "packed file")
    return _chart(frame, curves, lambda share: f"{share:.4f}x", names, rows)


def width_chart(
    curves: CurvesData | None, data: SweepData, rows: Mapping[str, str]
) -> SweepChart | None:
    """Scores over widths at equal size; None where there are no budgets.

    Args:
        curves: over widths.
        data: of the sweep.
        rows: ids of the rows in the table of plans, by the plans' names.
    """
    if curves is None:
        return None
    filling = [plan for plan in data.scored if plan.budget is not None]
    names = {(plan.width, plan.score): plan.name for plan in filling}
    x, y = x_scale(*curves.limits, log=False), score_scale(curves.view)
    widths = sorted({point.x for curve in curves.curves for point in curve.points})
    frame = Frame(
        x=x,
        y=y,
        x_ticks=x.ticks(format_width, widths),
        y_ticks=score_ticks(y),
        x_label="width of the layers that may grow; bits fill the budget",
        y_label=score_label(data.baseline),
        float_at=float_line(y, data.baseline),
    )
    return _chart(frame, curves, format_width, names, rows)


def _chart(
    frame: Frame,
    curves: CurvesData,
    place: Callable[[float], str],
    names: Mapping[tuple[float | None, float], str],
    rows: Mapping[str, str],
) -> SweepChart:
    """The curves in a frame.

    Args:
        frame: of the chart.
        curves: to draw.
        place: a position along x, for people.
        names: of the plans, by position and score.
        rows: ids of the rows in the table of plans, by the plans' names.
    """

    def plotted(point: CurvePoint, number: int) -> PlotPoint:
        name = names.get((point.x, point.score), point.name)
        spread = f" ± {point.deviation:.2g}" if point.deviation else ""
        label = f"{name}: {curves.baseline.metric} {format_score(point.score)}{spread}"
        ends = None
        if point.deviation:
            ends = frame.y(point.score - point.deviation), frame.y(point.score + point.deviation)
        return PlotPoint(
            frame.x(point.x),
            frame.y(point.score),
            "series",
            f"{label}, {place(point.x)}",
            rows.get(name, ""),
            ends,
            beyond_axis(frame, point.score),
            number,
        )

    series = []
    for index, curve in enumerate(curves.curves):
        points = tuple(plotted(point, index % SERIES) for point in curve.points)
        line = tuple((point.x, point.y) for point in points) if curve.joined else ()
        series.append(Series(index % SERIES, curve.label, line, points))
    beyond = sum(bool(point.beyond) for each in series for point in each.points)
    return SweepChart(frame, tuple(series), curves.seeds, curves.undrawn, beyond)


def shade_of(cell: HeatmapCell) -> int:
    """The shade of a cell of a heat map: worse scores are darker.

    Args:
        cell: of a heat map.
    """
    return 0 if cell.badness is None else round(SHADES * min(max(cell.badness, 0.0), 1.0))


def heatmaps(data: HeatmapData | None) -> tuple[Heatmap, ...] | None:
    """The heat maps of a sweep; None where no run has a score.

    Args:
        data: of the figure.
    """
    return None if data is None else data.heatmaps
