"""Lines of a log, with clocks that the test sets."""

from __future__ import annotations

import io
import re
import threading
from datetime import datetime

import pytest

from autoquant.progress.plain import FIRST_SECONDS, NEXT_SECONDS, PHASE_SECONDS, PlainProgress


class Log:
    """A PlainProgress and its clock.

    Attributes:
        now: seconds on the clock.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.progress = PlainProgress(
            self.stream, lambda: self.now, lambda: datetime(2026, 11, 29, 23, 5, 7)
        )

    def tick(self, seconds: float) -> list[str]:
        """The lines that a later moment adds.

        Args:
            seconds: later.
        """
        before = len(self.stream.getvalue())
        self.now += seconds
        self.progress.tick()
        return [line[16:] for line in self.stream.getvalue()[before:].splitlines()]

    @property
    def lines(self) -> list[str]:
        """All lines, without the times."""
        return [line[16:] for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_line_begins_with_the_time(log: Log) -> None:
    log.progress.say("two\nlines")
    assert log.stream.getvalue() == "11-29 23:05:07  two\n11-29 23:05:07  lines\n"


def test_what_a_terminal_would_obey_is_escaped(log: Log) -> None:
    log.progress.say("a\x1b[31m b\rc")
    assert log.lines == [r"a\x1b[31m b", "c"]


def test_a_phase_begins_and_ends_with_a_line(log: Log) -> None:
    with log.progress.phase("references"):
        log.progress.say("trial w8")
        log.now += 75.0
    assert log.lines == ["references: started", "trial w8", "references: ended after 1 min 15 s"]


def test_a_phase_in_which_nothing_happens_is_not_told(log: Log) -> None:
    with log.progress.phase("learning rate"):
        assert log.tick(PHASE_SECONDS - 0.1) == []
    assert log.lines == []
    with log.progress.phase("export"):
        assert log.tick(PHASE_SECONDS) == ["export: started"]
    assert log.lines[-1] == "export: ended after 2.0 s"


def test_a_phase_that_an_error_ends_has_not_ended(log: Log) -> None:
    def stopped() -> None:
        with log.progress.phase("references"):
            log.progress.say("trial w8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert log.lines[-1] == "references: stopped after 0.0 s"
    with log.progress.phase("next"):
        log.progress.say("a line")
    assert log.lines[-3:] == ["next: started", "a line", "next: ended after 0.0 s"]


def test_what_takes_long_is_told_now_and_then(log: Log) -> None:
    with log.progress.bar("trial 3", 100, "step") as bar:
        assert log.tick(FIRST_SECONDS - 0.1) == []
        bar.advance(20)
        assert log.tick(0.1) == ["trial 3: 20 of 100 steps, 2.0 steps/s, about 40 s left"]
        assert log.tick(NEXT_SECONDS - 0.1) == []
        bar.advance(30)
        assert len(log.tick(0.1)) == 1
        log.now += NEXT_SECONDS - 1
        log.progress.say("another line")
        assert log.tick(2.0) == []
    assert log.tick(1000.0) == []


def test_one_line_tells_of_all_that_takes_long(log: Log) -> None:
    with log.progress.bar("trial 3"):
        log.now += 5.0
        with log.progress.bar("trial 4"):
            assert log.tick(6.0) == ["trial 3: 11 s so far"]
            assert log.tick(9.9) == []  # trial 4 is new, but there was a line
            assert log.tick(0.1) == ["trial 3: 21 s so far; trial 4: 16 s so far"]


def test_a_log_that_cannot_be_written_ends_nothing(log: Log) -> None:
    log.stream.close()
    with log.progress.phase("references"):
        log.progress.say("a line")


def test_lines_of_several_threads_stay_whole(log: Log) -> None:
    def say(name: str) -> None:
        for _ in range(200):
            with log.progress.bar(name, 1, "step") as bar:
                bar.advance()
            log.progress.say(name * 30)

    with log.progress:
        threads = [threading.Thread(target=say, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(log.lines) == sorted([name * 30 for name in "abcd"] * 200)
    assert threading.active_count() < 20
    assert not re.search("[\r\x1b]", log.stream.getvalue())
