"""Rungs: lengths that rise, with the training of each."""

from __future__ import annotations

import pytest

from autoquant.rounds.rungs import rungs_of
from autoquant.settings import Rounds, Search, Training


def settings(qat: int, final: int, **rounds: object) -> Search:
    return Search(
        qat=Training(steps=qat),
        final=Training(steps=final),
        rounds=Rounds(**rounds),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [
        (settings(100, 1000), [("short", 100), ("medium", 400), ("full", 1000)]),
        (settings(100, 300), [("short", 100), ("full", 300)]),
        (settings(100, 50), [("short", 100)]),
        (settings(100, 1000, full=False), [("short", 100), ("medium", 400)]),
        (settings(100, 1000, medium=1.0), [("short", 100), ("full", 1000)]),
        (settings(0, 0), [("short", 0)]),
    ],
    ids=["three", "no medium", "short alone", "not in full", "no medium by setting", "no training"],
)
def test_lengths(settings: Search, rungs: list[tuple[str, int]]) -> None:
    found = rungs_of(settings, steps_per_epoch=10)
    assert [(rung.name, rung.steps) for rung in found] == rungs
    assert found[-1].training == (settings.final if rungs[-1][0] == "full" else settings.qat)
