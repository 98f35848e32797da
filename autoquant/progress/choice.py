"""Which kind of progress suits what stderr is."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from autoquant.progress.base import is_terminal
from autoquant.progress.interface import SILENT, Progress
from autoquant.progress.plain import PlainProgress

WITHOUT_CURSOR = ("", "dumb", "unknown")
"""Values of TERM whose terminals show lines only."""
NO_DRAWING = ("TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables that are "0" where a terminal is not to be drawn in; rich obeys them."""
_DRAWING = threading.Lock()
"""Is held by what draws in the terminal: two displays would overwrite each other."""


@contextmanager
def opened(wanted: bool, title: str) -> Iterator[Progress]:
    """A Progress for a block: live in a terminal, else lines; nothing where it is not wanted.

    In a notebook it is lines: they stay in the saved notebook, and need no widgets. A search inside
    another one, or in another thread, writes lines above the display of the first.

    Args:
        wanted: whether something is shown.
        title: of the display, such as "search".
    """
    stream = sys.stderr
    if not wanted or stream is None:
        yield SILENT
    elif can_draw(stream) and _DRAWING.acquire(blocking=False):
        try:
            from autoquant.progress.live import LiveProgress  # rich is not needed otherwise

            with LiveProgress(title, stream) as live:
                yield live
        finally:
            _DRAWING.release()
    else:
        with PlainProgress(stream) as plain:
            yield plain


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose cursor can be moved.

    Args:
        stream: such as stderr.
    """
    refused = any(os.environ.get(name) == "0" for name in NO_DRAWING)
    return (
        is_terminal(stream)
        and not refused
        and (os.name == "nt" or os.environ.get("TERM", "") not in WITHOUT_CURSOR)
    )
