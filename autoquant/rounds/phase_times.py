"""PhaseTimes: how long each part of a search took, and how many of its trainings have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from autoquant.progress import SILENT, Bar, Progress


@dataclass
class PhaseTimes:
    """Wall-clock seconds by phase, in the order in which phases began.

    Attributes:
        seconds: by name of the phase.
        progress: is told which phase it is, and how many of its trainings have ended.
        workers: trainings at the same time; 0 where that is not known, as on a cluster: the time
            that is left then follows from the time since the phase began.
        at_end: called at the end of each phase that no error ends.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    progress: Progress = SILENT
    workers: int = 1
    at_end: Callable[[], object] = lambda: None
    _trainings: Bar | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase.

        Args:
            name: of the phase.
        """
        started = time.monotonic()
        try:
            with self.progress.phase(name), self._open:
                yield
                self.at_end()
        finally:
            self._trainings = None
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def expect(self, count: int) -> None:
        """Say how many trainings of this phase are known that have not ended.

        Args:
            count: of trainings; recorded ones that are not run again do not count.
        """
        if self._trainings is None:
            self._trainings = self._open.enter_context(
                self.progress.bar("trainings", 0, "training")
            )
            self._trainings.parallel = self.workers or 1
        self._trainings.total = self._trainings.done + count

    def ended(self, seconds: float) -> None:
        """Count a training of this phase.

        Args:
            seconds: that it took.
        """
        if self._trainings is not None:
            self._trainings.advance(seconds=seconds if self.workers else 0.0)

    def tally(self) -> str:
        """Trainings of this phase that have ended, of how many, and the time that is left."""
        return "" if self._trainings is None else self._trainings.tally(time.monotonic())

    def __str__(self) -> str:
        total = f"{sum(self.seconds.values()):.1f} s in all"
        shown = {name: f"{seconds:.1f}" for name, seconds in self.seconds.items()}
        parts = ", ".join(f"{name} {text} s" for name, text in shown.items() if text != "0.0")
        return f"time: {parts}; {total}" if parts else f"time: {total}"
