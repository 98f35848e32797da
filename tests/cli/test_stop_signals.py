"""Signals that end a program raise a KeyboardInterrupt."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from autoquant.cli.stop_signals import NAMES, stopped_by_signals

KNOWN = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def unhandled() -> Iterator[None]:
    """As in a new process."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in KNOWN}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", KNOWN, ids=lambda number: number.name)
def test_they_interrupt_the_block(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_IGN, print], ids=["ignored", "handled"])
def test_what_a_program_does_already_stays(handler: signal.Handlers) -> None:
    signal.signal(KNOWN[0], handler)
    with stopped_by_signals():
        assert signal.getsignal(KNOWN[0]) == handler
    assert signal.getsignal(KNOWN[0]) == handler


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_ends_at_once() -> None:
    with stopped_by_signals():
        child = os.fork()
        if child == 0:
            signal.raise_signal(KNOWN[0])
            os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == KNOWN[0]


def test_another_thread_has_no_signals() -> None:
    found = []

    def run() -> None:
        with stopped_by_signals():
            found.append(signal.getsignal(KNOWN[0]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
