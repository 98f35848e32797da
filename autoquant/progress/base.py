"""ShownProgress: what the two kinds of progress that are shown have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from autoquant.progress.bar import Bar

Clock = Callable[[], float]
"""Gives seconds, as time.monotonic does."""


class ShownProgress:
    """Keeps what is in progress.

    Args:
        clock: monotonic.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._bars: list[Bar] = []

    @contextmanager
    def bar(
        self, label: str, total: int | None = None, unit: str = "", *, done: int = 0
    ) -> Iterator[Bar]:
        """See Progress.

        Args:
            label: what is done.
            total: units in all, or None.
            unit: in the singular.
            done: units that were done before.
        """
        made = Bar(label, self._clock(), total, unit, done, done)
        with self._lock:
            self._bars.append(made)
            self._bar_opened()
        try:
            yield made
        finally:
            with self._lock:
                self._bars.remove(made)

    def _bar_opened(self) -> None:
        """Called with the lock when something new is in progress."""


def printable_lines(text: str) -> list[str]:
    """The lines of a text; what a terminal would obey is escaped.

    Args:
        text: whose parts may come from a user's code or files.
    """
    return [
        "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
        for line in text.splitlines()
    ]


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal.

    Args:
        stream: such as stdout; None where there is none.
    """
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # not a file, or closed
        return False
