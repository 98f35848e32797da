"""The steps of a packed batch, as rows of tensors [N, ...] with all steps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """Which rows belong to which step.

    Attributes:
        sizes: active sequences at each step; non-increasing, from B on, with the sum N.
    """

    sizes: tuple[int, ...]

    def split(self, flow: Tensor) -> tuple[Tensor, ...]:
        """[N, ...] -> views [B_t, ...] of the steps."""
        views: tuple[Tensor, ...] = torch.split(flow, self.sizes)  # type: ignore[arg-type]
        return views

    def room(self, like: Tensor, width: int, *, kept: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Memory [N, width] and its steps; if it is not kept, [B, width] that all steps share."""
        memory = like.new_empty(sum(self.sizes) if kept else self.sizes[0], width)
        return memory, self.split(memory) if kept else self.shared(memory)

    def shared(self, rows: Tensor) -> list[Tensor]:
        """Rows [B, ...] -> views [B_t, ...] of those that are active at each step."""
        return [_first(rows, size) for size in self.sizes]

    def shifted(self, steps: Sequence[Tensor], first: Tensor) -> list[Tensor]:
        """What each step finds: views [B_t, ...] of the step before it; ``first`` to begin with."""
        pairs = zip(steps[:-1], self.sizes[1:], strict=True)
        return [first, *(_first(before, size) for before, size in pairs)]

    def before(self, flow: Tensor, first: Tensor) -> Tensor:
        """What each step finds, as one tensor [N, ...]."""
        if self.sizes[0] == self.sizes[-1]:
            return torch.cat([first, flow[: len(flow) - len(first)]])
        return torch.cat(self.shifted(self.split(flow), first))

    def last(self, steps: Sequence[Tensor]) -> Tensor:
        """A copy [B, ...] of each sequence's rows at its own last step."""
        pieces = [step[end:] for step, end in self._ends(steps)]
        return torch.cat(pieces[::-1])

    def add_last(self, steps: Sequence[Tensor], rows: Tensor) -> None:
        """Add rows [B, ...] to those of each sequence's own last step."""
        for step, end in self._ends(steps):
            step[end:] += rows[end : len(step)]

    def _ends(self, steps: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
        """The steps at which sequences end, and the first of the rows that do."""
        pairs = zip(steps, (*self.sizes[1:], 0), strict=True)
        return [(step, end) for step, end in pairs if end < len(step)] or [(steps[-1], 0)]

    def spread(self, values: Sequence[float], like: Tensor) -> Tensor:
        """One number a step -> one number a row [N]."""
        rows, start = like.new_empty(sum(self.sizes)), 0
        for value, run in groupby(zip(values, self.sizes, strict=True), key=itemgetter(0)):
            end = start + sum(size for _, size in run)
            rows[start:end].fill_(value)  # a copy from the CPU would have to be waited for
            start = end
        return rows


def _first(rows: Tensor, count: int) -> Tensor:
    """The first rows; no new view where that is all of them."""
    return rows if count == len(rows) else rows[:count]
