"""LiveProgress: a table of trials, and the bars of what runs, kept up to date in a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autoquant.progress.bar import readable_seconds
from autoquant.progress.base import Clock, ShownProgress, is_terminal, printable_lines
from autoquant.progress.live_view import LiveView, table_of
from autoquant.progress.trial_row import TrialRow

REFRESHES = 2
"""Times that the display is drawn each second: each takes some milliseconds from the training."""


class LiveProgress(ShownProgress):
    """Draws on a terminal while it is used as a context manager; then the finished table stays.

    What is printed meanwhile appears above the display. The cursor is visible again at the end,
    after an error and Ctrl-C too.

    Args:
        title: of the display, such as "search".
        stream: a terminal.
        clock: monotonic.
    """

    def __init__(self, title: str, stream: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._title, self._started = title, clock()
        self._phases: list[str] = []
        self._rows: tuple[TrialRow, ...] = ()
        self._view = LiveView()
        self._console = Console(file=stream, force_jupyter=False, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=REFRESHES,
            transient=True,
            redirect_stdout=is_terminal(sys.stdout),  # else what is printed is a result
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the display, and leave the table.

        Args:
            kind: of the error that the block raised, or None.
            error: that the block raised.
            traceback: of the error.
        """
        self._live.stop()
        if self._rows:
            ending = "ended" if error is None else "stopped"
            seconds = readable_seconds(self._clock() - self._started)
            self._console.print(Text(f"{self._title}: {ending} after {seconds}", style="bold"))
            self._console.print(table_of(self._rows, self._console.width))

    def say(self, line: str) -> None:
        """Print a line above the display.

        Args:
            line: for the user.
        """
        for each in printable_lines(line):
            self._console.print(Text(each), soft_wrap=True)

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        """Show the trials in the table.

        Args:
            rows: all trials.
            line: is not shown.
        """
        with self._lock:
            self._rows = tuple(rows)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show a part of the work above the table.

        Args:
            name: of the part.
        """
        with self._lock:
            self._phases.append(name)
        try:
            yield
        finally:
            with self._lock:
                self._phases.remove(name)

    def _drawn(self) -> LiveView:
        """The display as it is by now."""
        with self._lock:
            rows, bars, phases = self._rows, [*self._bars], [*self._phases]
        now = self._clock()
        elapsed = readable_seconds(now - self._started)
        self._view.update(rows, bars, " > ".join([self._title, *phases]), elapsed, now)
        return self._view


def _without_proxies() -> None:
    """Give a forked process, such as a DataLoader's worker, its own stdout and stderr back.

    Those of a live display print above it, with locks that another thread may hold at the fork.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(sys, name, getattr(stream, "rich_proxied_file", stream))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_without_proxies)
