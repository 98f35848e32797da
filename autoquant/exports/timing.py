"""Time of a pass of an export beside that of the loaded model, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.exports.ports import BATCH
from autoquant.exports.recording import Recording, axes_named, narrowed
from autoquant.exports.written import Runner

ROUNDS, SECONDS = 7, 0.01
"""Rounds at least, and seconds of a turn."""


@dataclass(frozen=True)
class PassTime:
    """Seconds of a pass with a batch of one.

    Attributes:
        exported: of the export in its target.
        packed: of the loaded model.
    """

    exported: float
    packed: float

    def __str__(self) -> str:
        ratio = self.exported / self.packed
        return f"{self.exported * 1e6:,.0f} us, {ratio:.2f} of the packed file's"


def pass_time(recording: Recording, runner: Runner) -> PassTime:
    """Time both in turns, with the example's first sequence or row.

    Args:
        recording: of the export.
        runner: runs it.
    """
    source = narrowed(recording.source, axes_named(recording, BATCH))
    inputs, keywords = copy_inputs((source.example.inputs, {**source.example.keywords}), None)
    leaves = pytree.tree_leaves((inputs, keywords))
    tensors = [leaf.numpy() for leaf in leaves if isinstance(leaf, Tensor)]
    feeds: dict[str, Any] = dict(zip((p.name for p in recording.inputs), tensors, strict=True))
    feeds |= {state.port.name: state.start(1) for state in recording.states}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return _timed(lambda: runner(feeds), lambda: source.model(*inputs, **keywords))
    finally:
        torch.set_num_threads(threads)


def _timed(exported: Callable[[], Any], packed: Callable[[], Any]) -> PassTime:
    repeats = [max(1, int(SECONDS / max(_seconds(call, 1), 1e-7))) for call in (exported, packed)]
    rounds = [
        [_seconds(call, count) for call, count in zip((exported, packed), repeats, strict=True)]
        for _ in range(ROUNDS)
    ]
    first, second = (median(each) for each in zip(*rounds, strict=True))
    return PassTime(first, second)


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Seconds of a call, the mean of some."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
