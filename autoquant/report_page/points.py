"""PlotPoint: a plan as a point in a chart, and the row that says what it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from autoquant.figures.labels import format_with_error
from autoquant.figures.study_data import OutcomePoint
from autoquant.report_page.frame import Frame

Mark = Literal["trial", "stopped", "reference", "lower", "chosen", "first", "level", "series"]
"""How a point is drawn."""


@dataclass(frozen=True)
class PlotPoint:
    """A point of a chart.

    Attributes:
        x: where it is drawn.
        y: where it is drawn; at the end of the axis where it lies beyond it.
        mark: how it is drawn.
        label: name, size and score, for people.
        row: id of its row in the table of plans.
        error: ends of its error bar; None where the error is not known.
        beyond: "up" or "down" where the score lies beyond the axis; else empty.
        series: number of its series, where it is of one.
    """

    x: float
    y: float
    mark: Mark
    label: str
    row: str
    error: tuple[float, float] | None = None
    beyond: str = ""
    series: int = 0


def plot_point(frame: Frame, point: OutcomePoint, mark: Mark, label: str, row: str) -> PlotPoint:
    """A point in a frame.

    Args:
        frame: of sizes and scores.
        point: to draw.
        mark: how it is drawn.
        label: for people.
        row: id of its row in the table of plans.
    """
    error = None
    if not math.isnan(point.error):
        error = frame.y(point.score - point.error), frame.y(point.score + point.error)
    return PlotPoint(
        x=frame.x(point.share),
        y=frame.y(point.score),
        mark=mark,
        label=label,
        row=row,
        error=error,
        beyond=beyond_axis(frame, point.score),
    )


def beyond_axis(frame: Frame, score: float) -> str:
    """On which side of the axis a score lies: "up", "down", or empty where it is on it.

    Args:
        frame: of scores.
        score: of a plan.
    """
    if frame.y.shows(score):
        return ""
    return "up" if score > frame.y.high else "down"


def point_label(point: OutcomePoint, metric: str, size: str) -> str:
    """What is said of a point.

    Args:
        point: of a plan.
        metric: name of the score.
        size: of its file, for people.
    """
    score = format_with_error(point.score, point.error)
    return f"{point.name}: {metric} {score}, {size} ({point.share:.4f}x)"
