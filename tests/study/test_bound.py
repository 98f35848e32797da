"""The loss that plans may have, from a share, a number or a score."""

from __future__ import annotations

import pytest

from autoquant.settings import Search
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.bound import loss_bound
from autoquant.task import Direction


def record(score: float, direction: Direction) -> BaselineRecord:
    return BaselineRecord(score, 1000, 250, "metric", direction, 10, 1.0)


@pytest.mark.parametrize(
    ("settings", "score", "direction", "bound"),
    [
        (Search(loss="1%"), 50.0, "minimize", 50.5),
        (Search(loss="1%"), 0.9, "maximize", -0.891),
        (Search(loss="0.02"), 0.9, "maximize", -0.88),
        (Search(score=0.85), 0.9, "maximize", -0.85),
        (Search(score=52.0), 50.0, "minimize", 52.0),
        (Search(), 50.0, "minimize", None),
    ],
    ids=["share", "share of accuracy", "number", "score", "perplexity", "none"],
)
def test_bounds(settings: Search, score: float, direction: Direction, bound: float | None) -> None:
    found = loss_bound(settings, record(score, direction))
    assert found == (None if bound is None else pytest.approx(bound))
