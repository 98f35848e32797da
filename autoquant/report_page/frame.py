"""Frame: the axes of a chart with their marks and labels, without its data."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.figures.labels import format_score
from autoquant.figures.score_view import ScoreView
from autoquant.figures.study_data import Pair
from autoquant.figures.style import better, share_ticks
from autoquant.figures.ticks import byte_texts, log_ticks
from autoquant.report_page.scale import Scale, Tick
from autoquant.study.baseline_record import BaselineRecord

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 26, 48
"""Space around the axes, for ticks and labels."""


@dataclass(frozen=True)
class Frame:
    """The axes of a chart.

    Attributes:
        x: horizontal.
        y: vertical; scores.
        x_ticks: below.
        y_ticks: on the left.
        top_ticks: above: in another unit.
        x_label: below.
        y_label: above the vertical axis.
        float_at: height of the float model's score; None where it is beyond the axis.
        width: of the drawing.
        height: of the drawing.
    """

    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    float_at: float | None
    top_ticks: tuple[Tick, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT


def x_scale(low: float, high: float, *, log: bool, width: int = WIDTH) -> Scale:
    """The horizontal axis of a frame.

    Args:
        low: value on the left.
        high: value on the right.
        log: whether it is logarithmic.
        width: of the drawing.
    """
    return Scale(low, high, LEFT, width - RIGHT, log)


def score_scale(view: ScoreView, height: int = HEIGHT) -> Scale:
    """The vertical axis of a frame.

    Args:
        view: the part of the scores that is shown.
        height: of the drawing.
    """
    return Scale(view.low, view.high, height - BOTTOM, TOP, view.log)


def size_frame(shares: Pair, view: ScoreView, baseline: BaselineRecord, file: str) -> Frame:
    """Shares of the float model's bytes below, bytes above, scores on the left.

    Args:
        shares: the least and the largest one.
        view: of the scores.
        baseline: the float model.
        file: what the sizes are of.
    """
    x, y = x_scale(*shares, log=True), score_scale(view)
    return Frame(
        x=x,
        y=y,
        x_ticks=x.ticks(lambda share: f"{share:g}x", share_ticks(*shares)),
        y_ticks=score_ticks(y),
        x_label=f"size of the {file}, as a share of the float model; above: bytes (log scale)",
        y_label=score_label(baseline),
        float_at=float_line(y, baseline),
        top_ticks=byte_ticks(x, baseline.size_bytes),
    )


def byte_ticks(x: Scale, float_bytes: int) -> tuple[Tick, ...]:
    """Round numbers of bytes above a logarithmic axis of shares.

    Args:
        x: of shares of the float model's bytes.
        float_bytes: of the float model.
    """
    sizes = log_ticks(x.low * float_bytes, x.high * float_bytes)
    texts = zip(sizes, byte_texts(sizes), strict=True)
    return tuple(Tick(x(size / float_bytes), text) for size, text in texts)


def score_label(baseline: BaselineRecord, split: str = "validation split") -> str:
    """What the vertical axis shows.

    Args:
        baseline: the float model.
        split: that was scored.
    """
    return f"{baseline.metric}, {split} ({better(baseline)} is better)"


def score_ticks(scale: Scale) -> tuple[Tick, ...]:
    """The marks of the vertical axis.

    Args:
        scale: of scores.
    """
    return scale.ticks(format_score)


def float_line(scale: Scale, baseline: BaselineRecord) -> float | None:
    """Height of the float model's score; None where it is beyond the axis.

    Args:
        scale: of scores.
        baseline: the float model.
    """
    return scale(baseline.score) if scale.shows(baseline.score) else None
