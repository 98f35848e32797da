"""A packed batch: rows of tensors [N, ...] with all time steps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """Which rows belong to which time step.

    Attributes:
        sizes: active sequences at each time step; non-increasing, from B on, with the sum N.
    """

    sizes: tuple[int, ...]

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Views [B_t, ...] of the time steps.

        Args:
            rows: [N, ...].
        """
        views: tuple[Tensor, ...] = torch.split(rows, self.sizes)  # type: ignore[arg-type]
        return views

    def workspace(
        self, like: Tensor, width: int, *, saved: bool
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Uninitialized memory and its views [B_t, width] of the time steps.

        Args:
            like: a tensor of the same type and device.
            width: of a row.
            saved: whether every time step has memory of its own, [N, width], or all time steps
                overwrite the same rows, [B, width].
        """
        memory = like.new_empty(sum(self.sizes) if saved else self.sizes[0], width)
        return memory, self.split(memory) if saved else self.shared(memory)

    def shared(self, rows: Tensor) -> list[Tensor]:
        """Views [B_t, ...] of the rows that are active at each time step.

        Args:
            rows: [B, ...], a row for each sequence.
        """
        return [_first_rows(rows, size) for size in self.sizes]

    def shifted(self, steps: Sequence[Tensor], first: Tensor) -> list[Tensor]:
        """For each time step the rows of its sequences one step earlier, as views [B_t, ...].

        Args:
            steps: what ``split`` returned.
            first: [B, ...], the rows before the first time step.
        """
        pairs = zip(steps[:-1], self.sizes[1:], strict=True)
        return [first, *(_first_rows(before, size) for before, size in pairs)]

    def previous(self, rows: Tensor, first: Tensor) -> Tensor:
        """For each row that of its sequence one step earlier, a new tensor [N, ...].

        Args:
            rows: [N, ...].
            first: [B, ...], the rows before the first time step.
        """
        if self.sizes[0] == self.sizes[-1]:
            return torch.cat([first, rows[: len(rows) - len(first)]])
        return torch.cat(self.shifted(self.split(rows), first))

    def last(self, steps: Sequence[Tensor]) -> Tensor:
        """A copy [B, ...] of each sequence's row at its own last time step.

        Args:
            steps: what ``split`` returned.
        """
        pieces = [step[end:] for step, end in self._ends(steps)]
        return torch.cat(pieces[::-1])

    def add_last(self, steps: Sequence[Tensor], rows: Tensor) -> None:
        """Add a row to that of each sequence's own last time step, in place.

        Args:
            steps: what ``split`` returned.
            rows: [B, ...], a row for each sequence.
        """
        for step, end in self._ends(steps):
            step[end:] += rows[end : len(step)]

    def _ends(self, steps: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
        """The time steps at which sequences end, and the first of the rows that do."""
        pairs = zip(steps, (*self.sizes[1:], 0), strict=True)
        return [(step, end) for step, end in pairs if end < len(step)] or [(steps[-1], 0)]

    def spread(self, values: Sequence[float], like: Tensor) -> Tensor:
        """One number for each time step, repeated for each of its rows, [N].

        Args:
            values: T numbers.
            like: a tensor of the same type and device.
        """
        rows, start = like.new_empty(sum(self.sizes)), 0
        for value, run in groupby(zip(values, self.sizes, strict=True), key=itemgetter(0)):
            end = start + sum(size for _, size in run)
            rows[start:end].fill_(value)  # a copy from the CPU would make a GPU wait
            start = end
        return rows


def _first_rows(rows: Tensor, count: int) -> Tensor:
    """The first ``count`` rows; no new view where these are all."""
    return rows if count == len(rows) else rows[:count]
