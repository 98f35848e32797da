from __future__ import annotations

from dataclasses import dataclass

import pytest

from autoquant.study.throttle import WAIT, Throttle


@dataclass
class Work:
    """Takes a while on a clock of its own.

    Attributes:
        now: of the clock.
        takes: seconds.
        done: times at which it began.
        error: that it raises once.
    """

    now: float = 0.0
    takes: float = 1.0
    done: tuple[float, ...] = ()
    error: Exception | None = None

    def __call__(self) -> None:
        self.done += (self.now,)
        self.now += self.takes
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def test_the_first_time_is_immediate_and_then_it_takes_a_small_share() -> None:
    work = Work()
    throttle = Throttle(work, lambda: work.now)
    for _ in range(10_000):
        throttle.ask()
        work.now += 0.01
    assert work.done[0] == 0.0
    assert len(work.done) * work.takes <= 1 + work.now / (WAIT + 1)
    assert len(work.done) > 3


def test_work_that_takes_longer_is_done_less_often() -> None:
    work = Work(takes=1.0)
    throttle = Throttle(work, lambda: work.now)
    throttle.ask()
    work.now, work.takes = 1.0 + WAIT, 10.0
    throttle.ask()
    work.now += 9.9 * WAIT
    throttle.ask()
    assert len(work.done) == 2
    work.now += 0.2 * WAIT
    throttle.ask()
    assert len(work.done) == 3


def test_what_was_left_is_done_at_the_end_and_nothing_else() -> None:
    work = Work()
    throttle = Throttle(work, lambda: work.now)
    throttle.finish()
    assert work.done == ()
    throttle.ask()
    throttle.finish()
    assert len(work.done) == 1
    throttle.ask()
    throttle.finish()
    throttle.finish()
    assert len(work.done) == 2


def test_work_that_failed_is_still_to_be_done() -> None:
    work = Work(error=ValueError("full"))
    throttle = Throttle(work, lambda: work.now)
    with pytest.raises(ValueError, match="full"):
        throttle.ask()
    throttle.finish()
    assert len(work.done) == 2
