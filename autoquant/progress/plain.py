"""PlainProgress: lines with the time, for logs, notebooks and terminals that cannot move a cursor.

A line at the start and the end of each phase, one for each training that has ended, and one now and
then while something takes long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from autoquant.progress.bar import readable_seconds
from autoquant.progress.base import Clock, ShownProgress, printable_lines
from autoquant.progress.trial_row import TrialRow

FIRST_SECONDS = 10.0
"""What is in progress is told when it has taken as long."""
NEXT_SECONDS = 30.0
"""Seconds without a line before it is told again."""
PHASE_SECONDS = 2.0
"""A phase in which nothing else is told is told when it has taken as long."""
TICK_SECONDS = 1.0
"""How often it is checked whether a line is due."""


@dataclass(eq=False)
class _Phase:
    """A phase in progress.

    Attributes:
        name: of it.
        started: on the monotonic clock.
        told: whether there was a line about it.
    """

    name: str
    started: float
    told: bool = False


class PlainProgress(ShownProgress):
    """Writes lines to a stream. As a context manager it also tells what takes long.

    Args:
        stream: that is written to; errors of it are ignored: they must not end a search.
        clock: monotonic.
        now: gives the time of a line.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        super().__init__(clock)
        self._stream, self._now = stream, now
        self._phases: list[_Phase] = []
        self._last_line = clock()
        self._told: set[int] = set()  # bars that there was a line about
        self._ended = threading.Event()
        self._ticking: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._ticking = threading.Thread(target=self._tick_until_ended, daemon=True)
        self._ticking.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop telling what takes long.

        Args:
            kind: of the error that the block raised, or None.
            error: that the block raised.
            traceback: of the error.
        """
        self._ended.set()
        if self._ticking is not None:
            self._ticking.join()

    def say(self, line: str) -> None:
        """Write a line.

        Args:
            line: for the user.
        """
        with self._lock:
            self._tell_phases()
            self._write(line)

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        """Write what has changed.

        Args:
            rows: are not shown.
            line: is written.
        """
        if line:
            self.say(line)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Write when a part of the work begins and ends, if there is something to tell about it.

        Args:
            name: of the part.
        """
        phase = _Phase(name, self._clock())
        with self._lock:
            self._phases.append(phase)
        end = "stopped"
        try:
            yield
            end = "ended"
        finally:
            with self._lock:
                seconds = self._clock() - phase.started
                if seconds >= PHASE_SECONDS:
                    self._tell_phases()
                self._phases.remove(phase)
                if phase.told:
                    self._write(f"{name}: {end} after {readable_seconds(seconds)}")

    def tick(self) -> None:
        """Write what takes long, if a line about it is due."""
        with self._lock:
            now = self._clock()
            if any(now - phase.started >= PHASE_SECONDS for phase in self._phases):
                self._tell_phases()
            long = [bar for bar in self._bars if now - bar.started >= FIRST_SECONDS]
            new = any(id(bar) not in self._told for bar in long)
            if long and now - self._last_line >= (FIRST_SECONDS if new else NEXT_SECONDS):
                self._told = {id(bar) for bar in long}
                self._write("; ".join(bar.line(now) for bar in long))

    def _tick_until_ended(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self.tick()

    def _bar_opened(self) -> None:
        self._tell_phases()

    def _tell_phases(self) -> None:
        """Write that the phases have begun that there was no line about."""
        for phase in self._phases:
            if not phase.told:
                phase.told = True
                self._write(f"{phase.name}: started")

    def _write(self, text: str) -> None:
        stamp = self._now().strftime("%m-%d %H:%M:%S")
        lines = [f"{stamp}  {line}\n" for line in printable_lines(text)]
        with suppress(OSError, ValueError):  # the reader has ended, or the stream is closed
            self._stream.write("".join(lines))
            self._stream.flush()
        self._last_line = self._clock()
