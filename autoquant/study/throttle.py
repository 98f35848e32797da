"""Throttle: repeats work that may take long, such that it takes a small share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT = 20
"""Times as long as the work took, before it is done again: it takes less than 5% of the time."""


class Throttle:
    """Does some work when it is asked to, unless it has been done a short while ago.

    Args:
        work: that is done.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, work: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._work, self._clock = work, clock
        self._due = clock()
        self._is_done = True

    def ask(self) -> None:
        """Do the work now, or leave it to a later call."""
        self._is_done = False
        if self._clock() >= self._due:
            self.finish()

    def finish(self) -> None:
        """Do the work now, if it has been left."""
        if self._is_done:
            return
        started = self._clock()
        self._work()
        self._is_done = True
        ended = self._clock()
        self._due = ended + WAIT * (ended - started)
