"""Which kind of progress is taken for which stream."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from autoquant.progress import SILENT, opened, print_notes
from autoquant.progress.choice import NO_DRAWING, can_draw
from autoquant.progress.live import LiveProgress
from autoquant.progress.plain import PlainProgress
from tests.progress.told import Told


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as stderr; no fixture, since pytest sets stderr again before the test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_a_terminal_has_a_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with opened(True, "search") as progress:
        assert type(progress) is LiveProgress


@pytest.mark.skipif(sys.platform == "win32", reason="terminals there need no TERM")
@pytest.mark.parametrize("term", ["dumb", "unknown", None])
def test_a_terminal_without_a_cursor_has_lines(
    term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.delenv("TERM") if term is None else monkeypatch.setenv("TERM", term)
    with opened(True, "search") as progress:
        assert type(progress) is PlainProgress
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("name", NO_DRAWING)
def test_a_terminal_that_must_not_be_drawn_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = use_terminal(monkeypatch)
    monkeypatch.setenv(name, "1")
    assert can_draw(stream)
    monkeypatch.setenv(name, "0")
    assert not can_draw(stream)


def test_a_log_and_a_notebook_have_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # that of a notebook is no terminal either
    with opened(True, "search") as progress:
        assert type(progress) is PlainProgress
    assert threading.active_count() < 20


def test_nothing_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with opened(False, "search") as progress:
        assert progress is SILENT
    assert terminal.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)  # a program without a console
    with opened(True, "search") as progress:
        assert progress is SILENT


def test_one_display_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error; the search inside writes lines above the display of the first."""
    terminal = use_terminal(monkeypatch)

    def nested() -> None:
        with opened(True, "outer") as outer:
            assert type(outer) is LiveProgress
            with opened(True, "inner") as inner:
                assert type(inner) is PlainProgress
                inner.say("from inside")
            raise ValueError("mine")

    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            nested()
    assert sys.stderr is terminal
    assert terminal.getvalue().count("from inside") == 2


def test_a_closed_stream_is_no_terminal() -> None:
    assert not can_draw(io.StringIO())
    closed = io.StringIO()
    closed.close()
    assert not can_draw(closed)


def test_notes_are_lines_or_warnings() -> None:
    told = Told()
    print_notes(["one", "two"], told)
    assert told.lines == ["one", "two"]
    with pytest.warns(UserWarning, match="one"):
        print_notes(["one"], SILENT)
