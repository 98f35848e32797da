"""Front: points with errors, the dominated area and the knee."""

from __future__ import annotations

import pytest

from autoquant.study.front import front_of, smallest_level_with
from tests.study.test_selection import outcome


def test_points_errors_and_knee() -> None:
    outcomes = [
        outcome("0", [10.0, 10.2, 10.4], size_bytes=100),
        outcome("1", [10.1, 10.4], size_bytes=80),
        outcome("2", [14.0], size_bytes=60),
        outcome("3", [15.0], size_bytes=70),
        outcome("4", [1.0], size_bytes=50, state="pruned"),
    ]
    front = front_of(outcomes, "minimize", 200)
    assert [point.outcome.trial for point in front.points] == ["2", "1", "0"]
    deviation = ((0.04 + 0.0 + 0.04 + 2 * 0.15**2) / 3) ** 0.5
    errors = [point.error for point in front.points]
    assert errors == pytest.approx([deviation, deviation / 2**0.5, deviation / 3**0.5])
    assert front.knee is not None
    assert front.knee.outcome.trial == "0"  # on equal orders 1 is 0.15 ± 0.05 above it
    # area up to size 200 and score 15, of the rectangle from (60, 10.2)
    area = (80 - 60) * (15 - 14) + (100 - 80) * (15 - 10.25) + (200 - 100) * (15 - 10.2)
    assert front.hypervolume == pytest.approx(area / ((200 - 60) * (15 - 10.2)))


def test_the_smallest_plan_that_reaches_a_score() -> None:
    front = front_of([outcome("0", [10.0], 100), outcome("1", [10.5], 80)], "minimize", 200)
    found = smallest_level_with(front, 10.2, "minimize", tolerance=0.3)
    assert found is not None
    assert found.outcome.trial == "1"
    assert smallest_level_with(front, 9.0, "minimize") is None


def test_an_empty_front() -> None:
    front = front_of([], "minimize", 200)
    assert (front.points, front.hypervolume, front.knee) == ((), 0.0, None)
