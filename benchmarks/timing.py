"""Interleaved timing: every variant runs in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

Times = Mapping[str, list[float]]  # seconds a call, one for each round


@dataclass(frozen=True)
class Ratio:
    """A variant's time over the base's in the same round: median and quartiles over rounds."""

    name: str
    median: float
    low: float
    high: float


def compare(
    variants: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.0
) -> list[Ratio]:
    """Time variants in turn; ratios are over the first one."""
    times = measure(variants, rounds, seconds)
    base = times[next(iter(times))]
    return [ratio(name, taken, base) for name, taken in times.items()]


def measure(
    variants: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.0
) -> Times:
    """Seconds a call of each variant in each round.

    Args:
        seconds: a variant is called as often in a round as it takes to last so long.
    """
    counts = {name: _count(call, seconds) for name, call in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    with _little_garbage():
        for turn in range(rounds if names else 0):
            first = turn % len(names)  # nobody is always behind the same neighbour
            gc.collect()
            for name in names[first:] + names[:first]:
                times[name].append(_seconds(variants[name], counts[name]))
    return times


def _count(call: Callable[[], object], seconds: float) -> int:
    """How many calls last ``seconds``; a call or two warm up allocations and thread pools."""
    _seconds(call, 1)
    return max(1, math.ceil(seconds / max(_seconds(call, 1), 1e-9)))


def _seconds(call: Callable[[], object], count: int) -> float:
    started = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - started) / count


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Python's garbage is collected when asked only, and what exists already is not looked at."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def ratio(name: str, taken: list[float], base: list[float]) -> Ratio:
    """Time over another's in the same round."""
    ratios = [mine / other for mine, other in zip(taken, base, strict=True)]
    low, median, high = quartiles(ratios)
    return Ratio(name, median, low, high)


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; never outside the values, however few."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
