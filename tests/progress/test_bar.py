"""What a bar says, at moments that the test chooses."""

from __future__ import annotations

import pytest

from autoquant.progress.bar import Bar, plural, readable_rate, readable_seconds


def test_the_rate_and_the_time_left_do_not_count_what_an_earlier_process_did() -> None:
    bar = Bar("trial 3", 100.0, 60, "step", done=20, skipped=20)
    assert bar.rate(200.0) is bar.left(200.0) is None
    bar.advance(10)
    assert bar.rate(105.0) == 2.0
    assert bar.left(105.0) == 15.0
    assert bar.line(105.0) == "trial 3: 30 of 60 steps, 2.0 steps/s, about 15 s left"
    bar.advance(30)
    assert bar.left(120.0) is None


def test_the_first_second_says_nothing_about_the_time_left() -> None:
    bar = Bar("trial 3", 0.0, 10, "step")
    bar.advance()
    assert bar.left(0.9) is None
    assert bar.left(1.0) == 9.0


def test_units_with_times_of_their_own_give_the_time_left() -> None:
    """Results that an earlier call recorded come at once: time since the beginning says nothing."""
    bar = Bar("trainings", 0.0, 10, "training", parallel=2)
    bar.advance(seconds=8.0)
    bar.advance(seconds=12.0)
    assert bar.tally(1e9) == "2 of 10 trainings, about 40 s left"  # 8 of 10 s each, two at a time
    assert bar.tally(0.0) == bar.tally(1e9)


def test_what_is_known_without_a_total() -> None:
    bar = Bar("scoring", 50.0)
    assert bar.line(52.5) == "scoring: 2.5 s so far"
    assert (bar.share, bar.left(60.0)) == (None, None)
    bar.note = "loss 3.1"
    assert bar.line(52.5) == "scoring: loss 3.1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7320.0, "2 h 2 min"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


def test_units() -> None:
    assert [plural("pass", 1), plural("pass", 2), plural("step", 0)] == ["pass", "passes", "steps"]
    assert [readable_rate(1.0, "step"), readable_rate(0.5, "pass")] == ["1.0 steps/s", "2.0 s/pass"]
