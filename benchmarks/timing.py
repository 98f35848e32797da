"""Interleaved timing: every variant runs in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """A variant's time over the base's in the same round: median and quartiles over rounds."""

    name: str
    median: float
    low: float
    high: float


def compare(
    variants: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1
) -> list[Ratio]:
    """Time variants in turn; ratios are over the first one."""
    for call in variants.values():  # warm up: allocations, thread pools
        call()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            started = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append(time.perf_counter() - started)
    base = times[next(iter(variants))]
    return [_ratio(name, taken, base) for name, taken in times.items()]


def _ratio(name: str, taken: list[float], base: list[float]) -> Ratio:
    ratios = [mine / other for mine, other in zip(taken, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(name, median, low, high)


def machine() -> str:
    """The machine and the versions that figures belong to."""
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{platform.processor() or platform.machine()}, {capability}, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
