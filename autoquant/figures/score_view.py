"""ScoreView: the part of the score axis that a figure shows, and how it is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoquant.task import Direction

LOG_SPAN = 10.0
"""Scores that span more than this factor are shown on a logarithmic axis."""
GOOD_PORTION = 0.75
"""Portion of the scores, best first, that must stay easy to tell apart."""
MAX_RANGE = 10.0
"""Most times that the shown range may be larger than the range of the good portion."""
MIN_GOOD_RANGE = 0.05
"""Least range of the good portion that is assumed, relative to the best score."""
MIN_SCORES_TO_CUT = 3
"""Fewer scores than this are all shown."""
GOOD_PADDING, BAD_PADDING = 0.14, 0.08
"""Empty parts of the axis beyond the best and the worst shown score, over the range between them.
The good side has more, because texts are there."""
SINGLE_SCORE_RANGE = 0.1
"""Range that is assumed around a single score, relative to it."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreView:
    """The part of the score axis that is shown.

    Attributes:
        low: lower end of the axis, in the metric's unit.
        high: upper end of the axis, in the metric's unit.
        log: whether the axis is logarithmic.
        beyond: how many scores lie outside the axis.
    """

    low: float
    high: float
    log: bool
    beyond: int


def view_of(scores: Sequence[float], direction: Direction, keep: Sequence[float] = ()) -> ScoreView:
    """The part of the score axis in which the good scores can be told apart.

    Very bad scores would compress all others into a small part of the axis. So scores are left out
    that would make the range more than ``MAX_RANGE`` times that of the best three quarters
    (``GOOD_PORTION``). The axis is logarithmic when low scores are good and the shown ones span
    more than a factor of ``LOG_SPAN``; where high scores are good, a logarithmic axis would give
    the worst ones most of the space.

    Args:
        scores: that are drawn; those outside the view are counted.
        direction: which scores are good.
        keep: scores that must be in the view, such as the float model's. ``scores`` and ``keep``
            together must have at least one.
    """
    values = np.array([*scores, *keep])
    wide = direction == "minimize" and _spans_much(values.min(), values.max())
    losses = _as_losses(values, direction, log=wide)
    must_be_shown = np.arange(len(values)) >= len(scores)
    shown = values[(losses <= _largest_shown(losses, log=wide)) | must_be_shown]
    low, high = float(shown.min()), float(shown.max())
    log = wide and _spans_much(low, high)
    low, high = _pad(low, high, log, direction)
    return ScoreView(low, high, log, int(np.sum((values < low) | (values > high))))


def with_headroom(view: ScoreView, direction: Direction, share: float) -> ScoreView:
    """A view with more space at its bad end.

    Args:
        view: to lengthen.
        direction: which scores are good.
        share: of the length of the axis that is added.
    """
    if view.log:
        return replace(view, high=view.high * (view.high / view.low) ** share)
    added = share * (view.high - view.low)
    if direction == "minimize":
        return replace(view, high=view.high + added)
    return replace(view, low=view.low - added)


def _spans_much(low: float, high: float) -> bool:
    """Whether scores are positive and span more than a factor of ``LOG_SPAN``."""
    return bool(low > 0 and high > LOG_SPAN * low)


def _as_losses(values: Scores, direction: Direction, *, log: bool) -> Scores:
    """Scores as numbers of which lower ones are better, on the scale of the axis.

    Args:
        values: scores.
        direction: which scores are good.
        log: whether they are ranked on a logarithmic axis.
    """
    if log:
        return np.log(values)
    return values if direction == "minimize" else -values


def _largest_shown(losses: Scores, *, log: bool) -> float:
    """The largest loss that is shown; infinite where all are.

    Args:
        losses: scores of which lower ones are better.
        log: whether they are logarithms.
    """
    ranked = np.sort(losses)
    best, worst_good = ranked[0], ranked[int(GOOD_PORTION * (len(ranked) - 1))]
    min_range = math.log(1 + MIN_GOOD_RANGE) if log else MIN_GOOD_RANGE * abs(best)
    shown_range = MAX_RANGE * max(worst_good - best, min_range)
    if not shown_range or len(ranked) < MIN_SCORES_TO_CUT:
        return math.inf
    return float(best + shown_range)


def _pad(low: float, high: float, log: bool, direction: Direction) -> tuple[float, float]:
    """The ends of an axis with space beyond the lowest and the highest shown score.

    Args:
        low: lowest shown score.
        high: highest shown score.
        log: whether the axis is logarithmic.
        direction: which scores are good; the good side has more space.
    """
    below, above = (
        (GOOD_PADDING, BAD_PADDING) if direction == "minimize" else (BAD_PADDING, GOOD_PADDING)
    )
    if log:
        return low * (low / high) ** below, high * (high / low) ** above
    span = high - low or SINGLE_SCORE_RANGE * abs(high) or 1.0
    return low - below * span, high + above * span
