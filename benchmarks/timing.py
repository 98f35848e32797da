"""Interleaved timing: every variant runs in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

Times = Mapping[str, list[float]]
"""Seconds of one call, for each variant and round."""


@dataclass(frozen=True)
class Ratio:
    """A variant's time over the base's in the same round.

    Attributes:
        name: of the variant.
        median: over the rounds.
        low: lower quartile over the rounds.
        high: upper quartile over the rounds.
    """

    name: str
    median: float
    low: float
    high: float


def measure(
    variants: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.0
) -> Times:
    """Seconds of one call of each variant in each round.

    Args:
        variants: calls by their names.
        rounds: in each of them every variant has a turn.
        seconds: a variant is called repeatedly until its turn takes this long.
    """
    counts = {name: _count(call, seconds) for name, call in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    with _no_collection():
        for turn in range(rounds if names else 0):
            first = turn % len(names)  # so that every variant is first in some round
            gc.collect()
            for name in names[first:] + names[:first]:
                times[name].append(_seconds(variants[name], counts[name]))
    return times


def _count(call: Callable[[], object], seconds: float) -> int:
    """How many calls take ``seconds``; the first call warms up allocations and thread pools."""
    _seconds(call, 1)
    return max(1, math.ceil(seconds / max(_seconds(call, 1), 1e-9)))


def _seconds(call: Callable[[], object], count: int) -> float:
    started = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - started) / count


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python collects garbage only when asked, and skips the objects that exist already."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def ratio(name: str, seconds: list[float], base: list[float]) -> Ratio:
    """Time over another variant's in the same round.

    Args:
        name: of the variant.
        seconds: of the variant, round by round.
        base: seconds of the base, round by round.
    """
    ratios = [time / base_time for time, base_time in zip(seconds, base, strict=True)]
    low, median, high = quartiles(ratios)
    return Ratio(name, median, low, high)


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; always within the range of the values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
