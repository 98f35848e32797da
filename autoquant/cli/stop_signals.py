"""Signals that end a program: a command stops by them as it does by Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")
"""Sent by ``kill``, by a scheduler, by a terminal that is closed; not all systems have both."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise a KeyboardInterrupt in the block when this process is to end.

    Signals that are ignored, as with ``nohup``, or are handled already, stay so. Processes that
    this one forks end at once.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    in_main_thread = threading.current_thread() is threading.main_thread()
    handled = [n for n in known if in_main_thread and signal.getsignal(n) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
