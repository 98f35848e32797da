"""Progress: the interface that trainings and commands tell what they do; and the silent one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from autoquant.progress.bar import Bar
from autoquant.progress.trial_row import TrialRow


class Progress(Protocol):
    """Is told what a command does. Any thread may call it."""

    def say(self, line: str) -> None:
        """Show a line.

        Args:
            line: for the user.
        """

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        """Show the trials as they are by now.

        Args:
            rows: all trials, in order; they replace those of the last call.
            line: what has changed; shown where there is no table, unless it is empty.
        """

    def phase(self, name: str) -> AbstractContextManager[None]:
        """A part of the work, which lasts as long as the block.

        Args:
            name: of the part.
        """

    def bar(
        self, label: str, total: int | None = None, unit: str = "", *, done: int = 0
    ) -> AbstractContextManager[Bar]:
        """Something that takes long, while the block runs.

        Args:
            label: what is done, such as "trial 3".
            total: units in all; None where that is not known.
            unit: in the singular; empty where none are counted.
            done: units that were done before.
        """


class SilentProgress:
    """A Progress that shows nothing."""

    def say(self, line: str) -> None:
        """Show nothing.

        Args:
            line: is dropped.
        """

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        """Show nothing.

        Args:
            rows: are dropped.
            line: is dropped.
        """

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show nothing.

        Args:
            name: is dropped.
        """
        yield

    @contextmanager
    def bar(
        self, label: str, total: int | None = None, unit: str = "", *, done: int = 0
    ) -> Iterator[Bar]:
        """A bar that nobody sees.

        Args:
            label: of the bar.
            total: of the bar.
            unit: of the bar.
            done: of the bar.
        """
        yield Bar(label, time.monotonic(), total, unit, done, done)


SILENT: Progress = SilentProgress()
"""Shows nothing."""


def print_notes(notes: Sequence[str], progress: Progress) -> None:
    """Show lines about a task; where nothing is shown they are warnings.

    Args:
        notes: the lines.
        progress: shows them.
    """
    for note in notes:
        if progress is SILENT:
            warnings.warn(note, stacklevel=3)
        else:
            progress.say(note)
