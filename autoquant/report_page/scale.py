"""Scale: an axis of a chart, from the values of the data to the units of the drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

ROUND_STEPS = (1.0, 2.0, 5.0)
"""Ticks stand at these multiples of powers of ten."""
TICKS = 6
"""Ticks of an axis, about."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis.

    Attributes:
        at: where it stands, in the units of the drawing.
        text: beside it.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis: which values it shows, and where it is drawn.

    Attributes:
        low: value at its start.
        high: value at its end.
        start: where the low value is drawn.
        end: where the high value is drawn.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is drawn; values beyond the axis at its ends.

        Args:
            value: in the unit of the data.
        """
        low, high, shown = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, shown = math.log(low), math.log(high), math.log(shown)
        share = (shown - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def shows(self, value: float) -> bool:
        """Whether a value lies between the ends.

        Args:
            value: in the unit of the data.
        """
        return self.low <= value <= self.high

    def ticks(
        self, text: Callable[[float], str], values: Iterable[float] | None = None
    ) -> tuple[Tick, ...]:
        """Marks at round values, or at given ones.

        Args:
            text: what is written beside a value.
            values: where the marks stand; round values when None.
        """
        chosen = round_values(self.low, self.high, log=self.log) if values is None else values
        return tuple(Tick(self(value), text(value)) for value in chosen if self.shows(value))


def round_values(low: float, high: float, *, log: bool = False) -> list[float]:
    """Round values between two others, about TICKS of them.

    Args:
        low: the least.
        high: the largest.
        log: whether they belong to a logarithmic axis.

    >>> round_values(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> round_values(1.0, 120.0, log=True)
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    """
    if log and high >= 4 * low:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        steps = ROUND_STEPS if last - first <= 3 else ROUND_STEPS[:1]
        values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [value for value in values if low <= value <= high]
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(s * power for s in (*ROUND_STEPS, 10.0) if span / (s * power) <= TICKS)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    decimals = max(0, -math.floor(math.log10(step)))
    return [round((first + i) * step, decimals) + 0.0 for i in range(count)]
