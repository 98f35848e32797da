"""ParetoChart: the plans of a search by size and score, each with what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoquant.budget import readable
from autoquant.figures.pareto_points import ParetoData, SizeLine
from autoquant.figures.study_data import OutcomePoint
from autoquant.report_page.frame import (
    Frame,
    size_frame,
)
from autoquant.report_page.points import Mark, PlotPoint, plot_point, point_label
from autoquant.report_page.scale import Tick


@dataclass(frozen=True)
class LegendEntry:
    """A line of a legend.

    Attributes:
        mark: how the points are drawn, "front", "budget", "float" or "error".
        text: what they are.
        series: number of the series, where it is one.
    """

    mark: str
    text: str
    series: int = 0


@dataclass(frozen=True)
class ParetoChart:
    """Everything in the chart.

    Attributes:
        frame: sizes and scores.
        points: of the plans, the smallest first.
        rings: around the chosen plans, the first plans and the smallest level ones.
        front: corners of the Pareto front.
        budgets: where the budgets are, and what is written beside each.
        level: down to which size a score is kept.
        legend: what is drawn.
        titles: what is chosen for each budget.
        notes: what has no place in the chart.
    """

    frame: Frame
    points: tuple[PlotPoint, ...]
    rings: tuple[PlotPoint, ...]
    front: tuple[tuple[float, float], ...]
    budgets: tuple[Tick, ...]
    level: Tick | None
    legend: tuple[LegendEntry, ...]
    titles: tuple[str, ...]
    notes: tuple[str, ...]


def pareto_chart(data: ParetoData, rows: Mapping[str, str]) -> ParetoChart:
    """The chart of a search.

    Args:
        data: of the pareto figure.
        rows: ids of the rows in the table of plans, by the names of the points.
    """
    frame = size_frame(data.shares, data.view, data.baseline, "file")
    series: dict[Mark, tuple[OutcomePoint, ...]] = {
        "trial": data.trials.points,
        "stopped": data.stopped.points,
        "reference": data.references.points,
        "lower": data.lower.points,
    }
    rings: dict[Mark, tuple[OutcomePoint, ...]] = {
        "chosen": data.chosen.points,
        "first": data.firsts,
        "level": data.smallest,
    }
    points = [
        _point(frame, data, point, mark, rows) for mark, some in series.items() for point in some
    ]
    return ParetoChart(
        frame=frame,
        points=tuple(sorted(points, key=lambda point: (point.x, point.y))),
        rings=tuple(
            _point(frame, data, point, mark, rows) for mark, some in rings.items() for point in some
        ),
        front=_front(frame, data),
        budgets=tuple(_line(frame, line) for line in data.budgets),
        level=None if data.level is None else _line(frame, data.level),
        legend=_legend(data),
        titles=data.titles,
        notes=_notes(data),
    )


def _point(
    frame: Frame, data: ParetoData, point: OutcomePoint, mark: Mark, rows: Mapping[str, str]
) -> PlotPoint:
    """A plan in the chart.

    Args:
        frame: of the chart.
        data: of the chart.
        point: of the plan.
        mark: how it is drawn; a plan of a lower rung at the bad end, for its score does not
            compare.
        rows: ids of the rows in the table of plans.
    """
    label = point_label(point, data.baseline.metric, readable(point.size_bytes))
    plotted = plot_point(frame, point, mark, label, rows.get(point.name, ""))
    if mark != "lower":
        return plotted
    bad = frame.y.end if data.baseline.direction == "minimize" else frame.y.start
    return PlotPoint(plotted.x, bad, mark, f"{label}, on a lower rung", plotted.row)


def _front(frame: Frame, data: ParetoData) -> tuple[tuple[float, float], ...]:
    """The corners of the front: at each plan the score changes."""
    corners: list[tuple[float, float]] = []
    for point in data.front:
        x, y = frame.x(point.share), frame.y(point.score)
        corners += [(x, corners[-1][1])] if corners else []
        corners.append((x, y))
    return (*corners, (frame.x.end, corners[-1][1])) if corners else ()


def _line(frame: Frame, line: SizeLine) -> Tick:
    return Tick(frame.x(line.share), line.text)


def _legend(data: ParetoData) -> tuple[LegendEntry, ...]:
    """What is drawn, without what is not there."""
    series = {
        "trial": data.trials,
        "stopped": data.stopped,
        "reference": data.references,
        "lower": data.lower,
        "chosen": data.chosen,
    }
    entries = [LegendEntry(mark, each.label) for mark, each in series.items() if each.points]
    if data.firsts:
        entries.append(LegendEntry("first", "first plan"))
    if data.smallest:
        entries.append(LegendEntry("level", "smallest plan level with the chosen one"))
    if data.front:
        entries.append(LegendEntry("front", "Pareto front"))
    if data.budgets:
        entries.append(LegendEntry("budget", "budget"))
    entries.append(LegendEntry("float", "float model"))
    if any(point.error == point.error for point in data.trials.points):
        entries.append(LegendEntry("error", "± standard error"))
    return tuple(entries)


def _notes(data: ParetoData) -> tuple[str, ...]:
    notes = []
    if data.view.beyond:
        notes.append(f"Scores beyond the axis, drawn as arrows at its end: {data.view.beyond}.")
    if data.lower.points:
        notes.append(
            "Trials on a lower rung stand at the bad end of the axis: their scores do not compare."
        )
    if data.undrawn:
        notes.append(f"Not drawn: {', '.join(data.undrawn)}.")
    return tuple(notes)
