from __future__ import annotations

import math
from dataclasses import replace

import pytest

from autoquant.plan import LayerChoice, Plan
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.headroom import headroom
from autoquant.study.outcome import Outcome
from autoquant.study.selection import select
from autoquant.study.summary import search_tables
from autoquant.task import Direction

PLAN = Plan({"fc": LayerChoice(4, 8)})
RECORD = BaselineRecord(10.0, 4000, 1000, "perplexity", "minimize", 5, 1.0)


def outcome(trial: str, *scores: float, steps: int = 10) -> Outcome:
    kept = tuple((steps, order, score) for order, score in enumerate(scores))
    mean = sum(scores) / len(scores) if scores else None
    role = "reference" if trial.startswith("w") else "search"
    plan = Plan.uniform(["fc"], LayerChoice(int(trial[1:]), 8)) if trial[0] == "w" else PLAN
    return Outcome(trial, role, plan, 500, "complete", mean, steps, scores=kept)  # type: ignore[arg-type]


MOST, FEW = outcome("w8", 10.0, 10.2, 10.4), outcome("w2", 15.0)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_difference_and_its_error(direction: Direction) -> None:
    first = outcome("0", 10.6, 11.0)
    found = headroom([MOST, FEW, first], first, direction)
    assert found is not None
    assert found.value == pytest.approx(0.6 if direction == "minimize" else -0.6)
    variance = (0.04 * 2 + 0.08) / 3  # within the two plans
    assert found.error == pytest.approx(math.sqrt(variance / 2 + variance / 3))


def test_longer_rungs_are_left_out() -> None:
    first = replace(outcome("0", 10.6, 11.0), steps=40)
    longer = replace(first, scores=(*first.scores, (40, 0, 3.0)), score=3.0)
    assert headroom([MOST, longer], longer, "minimize") == headroom(
        [MOST, first], first, "minimize"
    )


NONE = {
    "no references": [outcome("0", 1.0, 1.1)],
    "no noise": [outcome("w8", 1.0), outcome("0", 1.0)],
    "no score of the reference": [outcome("w8"), outcome("0", 1.0, 1.1)],
    "no score of the plan": [MOST, outcome("0")],
}


@pytest.mark.parametrize("outcomes", NONE.values(), ids=NONE)
def test_nothing_is_known(outcomes: list[Outcome]) -> None:
    assert headroom(outcomes, outcomes[-1], "minimize") is None


@pytest.mark.parametrize(
    ("score", "bound", "said"), [(10.2, None, True), (12.0, None, False), (10.2, 11.0, False)]
)
def test_a_table_says_that_nothing_can_be_gained(
    score: float, bound: float | None, said: bool
) -> None:
    first = outcome("0", score, score + 0.1)
    outcomes = [MOST, first]
    selections = [select(outcomes, 500, "minimize", bound)]
    table = search_tables(RECORD, outcomes, (500,), selections, bound)[0]
    line = "  nothing can be gained: after 10 steps trial 0 is level with 8 bits everywhere"
    line += ", or better (loss +0.05,"
    assert any(note.startswith(line) for note in table.notes) == said
