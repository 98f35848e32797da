"""Fronts and areas against brute force, the table against what went into it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import (
    COLUMNS,
    Outcome,
    best,
    complete,
    from_csv,
    hypervolume,
    loss_of,
    pareto_front,
    to_csv,
)
from autoquant.task import Direction

PLAN = Plan({"fc": LayerChoice(4, 8)})
DIRECTIONS = st.sampled_from(["minimize", "maximize"])


def outcome(size: int, score: float | None, state: str = "complete", trial: str = "0") -> Outcome:
    return Outcome(trial, "search", PLAN, size, state, score)  # type: ignore[arg-type]


# few sizes and scores, so that ties are common
POINTS = st.lists(
    st.builds(
        outcome,
        st.integers(1, 6),
        st.integers(0, 5).map(float) | st.none(),
        st.sampled_from(["complete", "complete", "complete", "pruned", "diverged"]),
    ),
    max_size=12,
)


def pairs(outcomes: list[Outcome], direction: Direction) -> list[tuple[float, float]]:
    return [(each.size_bytes, loss_of(each, direction)) for each in outcomes]


# --- complete, best -------------------------------------------------------------------------------


def test_complete_needs_a_score() -> None:
    kept = outcome(1, 2.0)
    assert complete([outcome(1, None), kept, outcome(1, 1.0, "pruned")]) == [kept]


@given(outcomes=POINTS, budget=st.integers(0, 7), direction=DIRECTIONS)
def test_best_against_brute_force(
    outcomes: list[Outcome], budget: int, direction: Direction
) -> None:
    sign = 1 if direction == "minimize" else -1
    fitting = [
        (sign * each.score, each.size_bytes)
        for each in outcomes
        if each.state == "complete" and each.score is not None and each.size_bytes <= budget
    ]
    found = best(outcomes, budget, direction)
    if not fitting:
        assert found is None
    else:
        assert found is not None
        assert found.score is not None
        assert (sign * found.score, found.size_bytes) == min(fitting)


@pytest.mark.parametrize(("direction", "trial"), [("minimize", "c"), ("maximize", "b")])
def test_best_of_equal_scores_is_the_smaller(direction: Direction, trial: str) -> None:
    outcomes = [
        outcome(5, 9.0, trial="a"),
        outcome(4, 9.0, trial="b"),
        outcome(2, 3.0, trial="c"),
        outcome(3, 3.0, trial="d"),
        outcome(1, -50.0, "pruned", trial="e"),
        outcome(8, 100.0, trial="too large"),
        outcome(8, -100.0, trial="too large"),
    ]
    found = best(outcomes, 5, direction)
    assert found is not None
    assert found.trial == trial


# --- the front ------------------------------------------------------------------------------------


@given(outcomes=POINTS, direction=DIRECTIONS)
def test_front_against_brute_force(outcomes: list[Outcome], direction: Direction) -> None:
    """A pair is on the front when no other pair is as good in both and better in one."""
    points = set(pairs(complete(outcomes), direction))
    expected = sorted(
        p for p in points if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points)
    )
    front = pareto_front(outcomes, direction)
    assert pairs(front, direction) == expected
    assert all(each in outcomes for each in front)


def test_front_runs_from_small_to_good() -> None:
    outcomes = [outcome(4, 1.0), outcome(1, 4.0), outcome(2, 5.0), outcome(3, 2.0)]
    assert [each.size_bytes for each in pareto_front(outcomes, "minimize")] == [1, 3, 4]
    assert [each.size_bytes for each in pareto_front(outcomes, "maximize")] == [1, 2]
    assert pareto_front([], "minimize") == []


# --- the area -------------------------------------------------------------------------------------

GRID = 8


@given(
    points=st.lists(st.tuples(st.integers(0, 10), st.integers(-3, 10)), max_size=8),
    reference=st.tuples(st.integers(0, GRID), st.integers(0, GRID)),
)
def test_area_against_counting_cells(
    points: list[tuple[float, float]], reference: tuple[float, float]
) -> None:
    """On whole coordinates the area is a number of unit cells: exact."""
    cells = sum(
        any(x >= p[0] and y >= p[1] for p in points)
        for x in range(0, int(reference[0]))
        for y in range(-3, int(reference[1]))
    )
    assert hypervolume(points, reference) == cells


@settings(max_examples=20)
@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_area_against_chance(points: list[tuple[float, float]], seed: int) -> None:
    """Monte Carlo, 20,000 throws: within 5 standard deviations (0.018)."""
    throws = np.random.default_rng(seed).random((20_000, 2))
    hit = np.zeros(len(throws), bool)
    for x, y in points:
        hit |= (throws[:, 0] >= x) & (throws[:, 1] >= y)
    assert abs(hypervolume(points, (1.0, 1.0)) - hit.mean()) < 0.018


def test_area_of_nothing() -> None:
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 0.0), (0.0, 1.0), (2.0, -5.0)], (1.0, 1.0)) == 0.0


@given(
    points=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=6),
    extra=st.tuples(st.floats(0, 2), st.floats(0, 2)),
)
def test_area_never_shrinks(points: list[tuple[float, float]], extra: tuple[float, float]) -> None:
    reference = (1.5, 1.5)
    before, after = hypervolume(points, reference), hypervolume([*points, extra], reference)
    assert after >= before - 1e-12
    assert hypervolume([*points, points[0]], reference) == pytest.approx(before, abs=1e-12)


# --- the table ------------------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=False)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)
OUTCOMES = st.builds(
    Outcome,
    trial=WORDS.filter(bool),
    role=st.sampled_from(["search", "reference"]),
    plan=st.dictionaries(
        WORDS,
        st.builds(
            LayerChoice,
            weight_bits=st.sampled_from([1, 4, 32]),
            activation_bits=st.sampled_from([2, 32]),
            width=st.floats(1, 16),
            recurrent_bits=st.none() | st.just(3),
        ),
        min_size=1,
        max_size=3,
    ).map(Plan),
    size_bytes=st.integers(1, 10**12),
    state=st.sampled_from(["complete", "pruned", "diverged", "interrupted"]),
    score=st.none() | NUMBERS,
    steps=st.integers(0, 10**9),
    seconds=st.integers(0, 10**8).map(lambda n: n / 100),  # the table has hundredths
    history=st.lists(st.tuples(st.integers(0, 10**6), NUMBERS), max_size=3).map(tuple),
    reason=WORDS,
)


@given(st.lists(OUTCOMES, max_size=4))
def test_table_round_trip(outcomes: list[Outcome]) -> None:
    assert from_csv(to_csv(outcomes, 1000)) == outcomes


def test_table_for_other_readers() -> None:
    """Plain csv: one row an outcome, the size over the float model, JSON in three columns."""
    one = Outcome(
        "17",
        "search",
        PLAN,
        250,
        "pruned",
        1.5,
        40,
        2.345,
        ((20, 3.5),),
        'worse, "much"',
        ((20, 0, 3.0), (20, 1, 4.0)),
    )
    rows = list(csv.DictReader(io.StringIO(to_csv([one, outcome(1, None)], 1000))))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["size_share"] == "0.25000"
    assert rows[0]["seconds"] in ("2.34", "2.35")
    assert rows[0]["reason"] == 'worse, "much"'
    assert json.loads(rows[0]["history"]) == [[20, 3.5]]
    assert json.loads(rows[0]["plan"]) == PLAN.to_dict()
    assert json.loads(rows[0]["scores"]) == [[20, 0, 3.0], [20, 1, 4.0]]
    assert rows[1]["score"] == ""
    assert [row["split"] for row in rows] == ["valid", ""]


def test_scores_keep_every_digit() -> None:
    score = math.nextafter(0.1, 1)
    assert from_csv(to_csv([outcome(1, score)], 1))[0].score == score


def test_an_empty_table() -> None:
    """Without scores of trainings it is as earlier versions wrote it."""
    assert to_csv([], 1) == ",".join(COLUMNS[:-1]) + "\n"
    assert from_csv(to_csv([], 1)) == []


@pytest.mark.parametrize(
    ("state", "scores", "split"),
    [
        ("complete", (), "valid"),
        ("pruned", (), "probe"),  # of an earlier version, like the next one
        ("diverged", (), "probe"),
        ("pruned", ((5, 0, 2.0),), "valid"),
        ("scored", ((5, 0, 2.0),), "valid"),
    ],
)
def test_the_split_of_a_score(state: str, scores: tuple, split: str) -> None:
    scored = replace(outcome(1, 2.0, state), scores=scores)
    assert scored.split == split
    assert scored.history_split == ("valid" if scores else "probe")
    assert replace(scored, score=None).split is None
    text = to_csv([scored], 10)
    assert next(csv.DictReader(io.StringIO(text)))["split"] == split
    assert from_csv(text) == [scored]


def test_a_table_without_the_column_of_splits() -> None:
    """Earlier versions wrote none."""
    scored = outcome(1, 2.0, "pruned")
    (row,) = csv.DictReader(io.StringIO(to_csv([scored], 10)))
    del row["split"]
    written = io.StringIO()
    writer = csv.DictWriter(written, [*row])
    writer.writeheader()
    writer.writerow(row)
    assert from_csv(written.getvalue()) == [scored]
    assert from_csv(written.getvalue())[0].split == "probe"
