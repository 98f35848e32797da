"""Ticks: few round numbers, each on an axis of its own, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

LOG_SCALE = "(log scale)"
"""In the name of a logarithmic axis."""
MOST_TICKS = 7
"""On an axis as wide as a page."""
DIGITS = (  # of ticks between powers of ten, from few to many
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (
        *(1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.0, 3.5),
        4.0,
        4.5,
        5.0,
        6.0,
        7.0,
        8.0,
        9.0,
    ),
)
UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1))


def log_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Round numbers between the ends of a logarithmic axis, as many as have room; at least two.

    Args:
        low: end of the axis, above 0.
        high: end of the axis.
        most: how many texts have room side by side on the whole axis.

    >>> log_ticks(0.04, 0.3), log_ticks(180_000, 1_300_000)
    ([0.05, 0.1, 0.2], [200000.0, 500000.0, 1000000.0])
    """
    least_gap = math.log(high / low) / most
    candidates = [_between(low, high, digits) for digits in DIGITS]
    fitting = [ticks for ticks in candidates if _gap(ticks) >= least_gap]
    plain = _between(low, high, DIGITS[2])
    if len(plain) >= 3 and plain in fitting:
        return plain
    best = max(fitting, key=len, default=[])
    if len(best) >= 2:
        return best
    locator = MaxNLocator(3, min_n_ticks=2, steps=[1, 2, 2.5, 5, 10])
    ticks = [float(tick) for tick in locator.tick_values(low, high)]
    return [tick for tick in ticks if low <= tick <= high]


def _between(low: float, high: float, digits: Sequence[float]) -> list[float]:
    """Multiples of powers of ten between two limits.

    Args:
        low: the smaller limit.
        high: the larger one.
        digits: the multiples.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _gap(ticks: Sequence[float]) -> float:
    """The smallest distance between ticks on a logarithmic axis."""
    return min((math.log(b / a) for a, b in pairwise(ticks)), default=math.inf)


def use_log_ticks(axis: Axis, ticks: Sequence[float], texts: Sequence[str]) -> None:
    """Write texts at the ticks of a logarithmic axis, and nothing between them.

    Args:
        axis: a logarithmic one.
        ticks: where the texts stand.
        texts: one for each tick.
    """
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels(texts)


def byte_texts(sizes: Sequence[float]) -> list[str]:
    """Sizes of an axis as texts; each in the unit that makes it a short number.

    Args:
        sizes: in bytes.

    >>> byte_texts([200_000, 500_000, 1_000_000, 1_500_000])
    ['200 kB', '500 kB', '1 MB', '1.5 MB']
    """
    texts = []
    for size in sizes:
        unit, factor = next((u, f) for u, f in UNITS if size >= f or f == 1)
        texts.append(f"{size / factor:g} {unit}")
    return texts


def byte_unit(largest: float) -> tuple[str, int]:
    """The unit of a table of sizes: that in which the largest one has at most four digits.

    Args:
        largest: of the sizes, in bytes.

    Returns:
        its name and its bytes.
    """
    return next(
        ((unit, factor) for unit, factor in reversed(UNITS) if largest < 10_000 * factor), UNITS[0]
    )
