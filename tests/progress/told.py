"""A Progress that keeps what it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autoquant.progress import Bar, TrialRow
from autoquant.progress.interface import SilentProgress


class Told(SilentProgress):
    """Keeps lines, rows and bars.

    Attributes:
        lines: that were said.
        shown: the rows of each call of ``show``.
        bars: that were opened.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[tuple[TrialRow, ...]] = []
        self.bars: list[Bar] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        self.shown.append(tuple(rows))
        self.lines.append(line)

    @contextmanager
    def bar(
        self, label: str, total: int | None = None, unit: str = "", *, done: int = 0
    ) -> Iterator[Bar]:
        with super().bar(label, total, unit, done=done) as made:
            self.bars.append(made)
            yield made
