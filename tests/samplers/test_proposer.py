"""Proposals within the budget, never twice, the same from the same seed and evidence."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.plan import Plan
from autoquant.samplers import registry
from autoquant.samplers.bit_allocation import BitAllocation
from autoquant.samplers.proposer import MIN_TRIALS_FOR_SAMPLER, Proposer
from autoquant.space.projection import Projection
from autoquant.space.search_space import Dimension, Point, SearchSpace
from autoquant.study.outcome import Outcome
from tests.toys import limit

BITS = (1, 2, 4, 8)
UNITS = {"a": 10, "b": 30, "c": 5}
GP = pytest.param("gp", marks=pytest.mark.slow)  # seconds a proposal


def space_of(*fields: str, bits: tuple[int, ...] = BITS) -> SearchSpace:
    """Dimensions by name, such as "a.width"."""
    choices = {"weight_bits": bits, "activation_bits": (4, 8), "width": (1.0, 1.5, 2.0)}
    dimensions = [Dimension(*name.split("."), choices[name.split(".")[1]]) for name in fields]
    layers = tuple(dict.fromkeys(d.layer for d in dimensions))
    return SearchSpace(tuple(dimensions), layers, {layer: layer for layer in layers})


SPACE = space_of("a.weight_bits", "a.activation_bits", "a.width", "b.weight_bits", "c.weight_bits")


def size_of(plan: Plan) -> int:
    return int(sum(UNITS[n] * c.width * c.weight_bits for n, c in plan.choices.items()))


def proposer_of(
    sampler: str = "tpe",
    *,
    seed: int = 0,
    budget: int = 150,
    space: SearchSpace = SPACE,
    **more: Any,
) -> Proposer:
    return Proposer(Projection(space, limit(size_of, budget), **more), "minimize", sampler, seed)


def score_of(plan: Plan) -> float:
    """More bits in "b" are better; a made-up truth for the samplers to find."""
    return 10.0 - plan["b"].weight_bits + 0.1 * plan["a"].weight_bits


def ended(proposer: Proposer, point: Point, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    plan = proposer.space.plan(point)
    value = score_of(plan) if state == TrialState.COMPLETE else None
    return create_trial(
        state=state,
        value=value,
        params=proposer.params(point),
        distributions=dict(proposer.ranges()),
        intermediate_values={1: score_of(plan)} if state == TrialState.PRUNED else {},
    )


def reference(plan: Plan, **changes: Any) -> Outcome:
    values = {"state": "complete", "score": score_of(plan), "size_bytes": size_of(plan)}
    return Outcome("w4", "reference", plan, **(values | changes))


def run(proposer: Proposer, count: int, references: tuple[Outcome, ...] = ()) -> list[Point]:
    """What a search would try, one after the other."""
    trials: list[FrozenTrial] = []
    points: list[Point] = []
    while len(points) < count:
        tried = {proposer.space.plan(each) for each in points}
        point = proposer.propose(trials, references, tried)
        if point is None:
            break
        points.append(point)
        trials.append(ended(proposer, point))
    return points


def fitting(proposer: Proposer) -> set[Point]:
    every = product(*(range(len(d.choices)) for d in proposer.space.dimensions))
    return {
        point
        for point in every
        if size_of(proposer.space.plan(point)) <= proposer.projection.limits.budget.value
    }


# --- within the budget, none twice ----------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random", GP])
def test_proposals_fit_and_differ(sampler: str) -> None:
    proposer = proposer_of(sampler)
    points = run(proposer, 14)
    assert len(points) == len(set(points)) == 14
    assert all(size_of(SPACE.plan(point)) <= 150 for point in points)


@given(st.integers(45, 500), st.integers(0, 99), st.booleans())
@settings(max_examples=10)
def test_any_budget(budget: int, seed: int, fill: bool) -> None:
    points = run(proposer_of("random", seed=seed, budget=budget, fill=fill), 8)
    assert len(points) == len(set(points))
    assert points
    assert all(size_of(SPACE.plan(point)) <= budget for point in points)


def test_plans_that_are_tried_already_are_left_out() -> None:
    proposer = proposer_of()
    first = proposer.propose([], [], ())
    assert first is not None
    second = proposer.propose([], [], {SPACE.plan(first)})
    assert second not in (first, None)


@pytest.mark.parametrize("fill", [True, False], ids=["fill", "as sampled"])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_plan_that_fits_and_then_nothing(sampler: str, fill: bool) -> None:
    space = space_of("a.weight_bits", "a.width", "b.weight_bits", bits=(2, 4, 8))
    proposer = proposer_of(sampler, space=space, budget=200, fill=fill)
    points = run(proposer, 1000)
    everything = math.prod(len(d.choices) for d in space.dimensions)
    assert len(points) < everything  # the budget leaves some out
    assert len(points) == len(set(points))
    assert set(points) == fitting(proposer)


def test_no_plan_fits() -> None:
    assert proposer_of(budget=44).propose([], [], ()) is None
    assert proposer_of(budget=45).propose([], [], ()) is not None


# --- the first proposals --------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_first_ones_fill_the_budget_at_each_width(sampler: str) -> None:
    plans = [SPACE.plan(point) for point in run(proposer_of(sampler), 3)]
    assert [plan["a"].width for plan in plans] == [1.0, 1.5, 2.0]
    assert {plan["a"].activation_bits for plan in plans} == {8}
    for plan in plans:
        larger = [
            plan.with_choice(name, weight_bits=BITS[BITS.index(choice.weight_bits) + 1])
            for name, choice in plan.choices.items()
            if choice.weight_bits < BITS[-1]
        ]
        assert larger
        assert all(size_of(each) > 150 for each in larger)


def test_widths_that_cannot_fit_have_no_start() -> None:
    proposer = proposer_of(budget=52)  # 45 at the least; 50 at x1.5, 55 at x2
    plans = [SPACE.plan(point) for point in run(proposer, 100)]
    assert [plan["a"].width for plan in plans[:2]] == [1.0, 1.5]
    assert max(plan["a"].width for plan in plans) == 1.5


def test_layers_with_fewer_widths_stop_at_their_last() -> None:
    dimensions = (
        Dimension("a", "weight_bits", BITS),
        Dimension("a", "width", (1.0, 1.5, 2.0)),
        Dimension("b", "weight_bits", BITS),
        Dimension("b", "width", (1.0, 1.5)),
    )
    space = SearchSpace(dimensions, ("a", "b"), {"a": "a", "b": "b"})
    plans = [space.plan(point) for point in run(proposer_of(space=space, budget=300), 3)]
    widths = [(plan["a"].width, plan["b"].width) for plan in plans]
    assert widths == [(1.0, 1.0), (1.5, 1.5), (2.0, 1.5)]


# --- informed by sensitivity ----------------------------------------------------------------------


def informed(**more: Any) -> Proposer:
    """With a sensitivity that is high for "b" and low for "c"."""
    proposer = proposer_of(**more)
    increases = {
        "a.weight_bits": (1.0, 0.5, 0.2, 0.0),
        "b.weight_bits": (9.0, 3.0, 1.0, 0.0),
        "c.weight_bits": (0.03, 0.02, 0.01, 0.0),
    }
    named = {name: dict(zip(BITS, each, strict=True)) for name, each in increases.items()}
    return replace(proposer, allocation=BitAllocation(proposer.projection, Sensitivity(named)))


def test_the_first_ones_spend_bits_where_few_hurt() -> None:
    proposer = informed(budget=150)
    plans = [SPACE.plan(point) for point in run(proposer, 3)]
    assert [plan["a"].width for plan in plans] == [1.0, 1.5, 2.0]
    bits = {name: choice.weight_bits for name, choice in plans[0].choices.items()}
    assert bits == {"a": 2, "b": 4, "c": 2}  # 150 bytes; evenly it would be 4, 2, 8


def test_informed_proposals_fit_and_differ() -> None:
    points = run(informed(), MIN_TRIALS_FOR_SAMPLER + 5)
    assert len(set(points)) == MIN_TRIALS_FOR_SAMPLER + 5
    assert all(size_of(SPACE.plan(point)) <= 150 for point in points)


def test_the_sampler_is_asked_once_there_is_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def sampler(seed: int) -> Any:
        asked.append(seed)
        return TPESampler(seed=seed)

    monkeypatch.setitem(registry._SAMPLERS, "tpe", sampler)
    proposer = informed(budget=200)
    points = run(proposer, 3)
    assert not asked
    tried = {SPACE.plan(point) for point in points}
    trials = [ended(proposer, point) for point in points] * MIN_TRIALS_FOR_SAMPLER
    proposer.propose(trials[:MIN_TRIALS_FOR_SAMPLER], [], tried)
    assert len(asked) == 1


def test_the_sampler_is_asked_where_random_points_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    proposer = informed()
    first = run(proposer, 1)
    monkeypatch.setattr(BitAllocation, "initial_points", lambda self: [])
    monkeypatch.setattr(BitAllocation, "random_point", lambda self, entropy: first[0])
    point = proposer.propose([], [], {SPACE.plan(first[0])})
    assert point is not None
    assert size_of(SPACE.plan(point)) > 0.9 * 150


def test_informed_and_stopped_in_between() -> None:
    points = run(informed(), 14)
    for stop in (0, 3, 7, MIN_TRIALS_FOR_SAMPLER, 13):
        fresh = informed()
        trials = [ended(fresh, point) for point in points[:stop]]
        tried = {SPACE.plan(point) for point in points[:stop]}
        assert fresh.propose(trials, [], tried) == points[stop]


# --- the same again -------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random", GP])
def test_same_seed_and_evidence(sampler: str) -> None:
    points = run(proposer_of(sampler, seed=3), 12)
    assert points == run(proposer_of(sampler, seed=3), 12)
    assert points != run(proposer_of(sampler, seed=4), 12)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_stop_in_between_changes_nothing(sampler: str) -> None:
    points = run(proposer_of(sampler), 12)
    for stop in (0, 3, 7, 11):
        fresh = proposer_of(sampler)
        trials = [ended(fresh, point) for point in points[:stop]]
        tried = {SPACE.plan(point) for point in points[:stop]}
        assert fresh.propose(trials, [], tried) == points[stop]


# --- learning -------------------------------------------------------------------------------------


def later(proposer: Proposer, references: list[Outcome]) -> list[Point | None]:
    """What is proposed after the starts and none, one, two, ... failures."""
    starts = run(proposer, 3)
    tried = {SPACE.plan(each) for each in starts}
    proposals = []
    for extra in range(6):
        states = [TrialState.COMPLETE] * 3 + [TrialState.FAIL] * extra
        points = (starts * 3)[: len(states)]
        trials = [ended(proposer, *each) for each in zip(points, states, strict=True)]
        proposals.append(proposer.propose(trials, references, tried))
    return proposals


def good_references() -> list[Outcome]:
    points = list(product((0, 1), (0, 1), (0,), (0, 1), (0, 1, 2, 3)))
    return [reference(SPACE.plan(point)) for point in points]


def test_every_ended_trial_gives_fresh_samples() -> None:
    """Failures too, though no sampler learns from them."""
    assert len(set(later(proposer_of("random"), []))) > 1


def test_references_that_fit_are_learned_from() -> None:
    proposer = proposer_of()
    assert all(each.size_bytes <= 150 for each in good_references())
    assert later(proposer, good_references()) != later(proposer, [])


@pytest.mark.parametrize(
    "change",
    [{"state": "pruned"}, {"state": "diverged", "score": None}],
    ids=["pruned", "diverged"],
)
def test_references_that_do_not_count(change: dict[str, Any]) -> None:
    proposer = proposer_of()
    useless = [reference(each.plan, **change) for each in good_references()]
    assert later(proposer, useless) == later(proposer, [])


def test_references_that_are_too_big_do_not_count() -> None:
    proposer = proposer_of()
    points = [(3, 1, width, 3, bits) for width in range(3) for bits in range(4)]
    useless = [reference(SPACE.plan(point)) for point in points]
    assert all(each.size_bytes > 150 for each in useless)
    assert later(proposer, useless) == later(proposer, [])


def test_references_outside_the_space_do_not_count() -> None:
    proposer = proposer_of()
    outside = [reference(each.plan.with_choice("c", weight_bits=3)) for each in good_references()]
    assert later(proposer, outside) == later(proposer, [])


def test_better_plans_come_up_more_often_than_by_chance() -> None:
    """With evidence that 8 bits in "b" are best, TPE proposes them; without fill to help."""

    def share(sampler: str) -> float:
        hits = 0
        for seed in range(8):
            proposer = proposer_of(sampler, seed=seed, budget=10_000, fill=False)
            points = [(i % 4, 0, i % 3, i % 4, (i // 4) % 4) for i in range(24)]
            trials = [ended(proposer, point) for point in points]
            point = proposer.propose(trials, [], {SPACE.plan(each) for each in run(proposer, 3)})
            assert point is not None
            hits += SPACE.plan(point)["b"].weight_bits == 8
        return hits / 8

    assert share("tpe") > share("random")


def test_pruned_trials_are_evidence_and_failed_ones_only_count() -> None:
    points = [(i % 4, 0, i % 3, i % 4, (i // 4) % 4) for i in range(16)]

    def after(state: TrialState, last: Point) -> list[Point | None]:
        proposals = []
        for seed in range(10):
            proposer = proposer_of(seed=seed, fill=False, budget=10_000)
            tried = {SPACE.plan(point) for point in [*points, *run(proposer, 3)]}
            trials = [ended(proposer, point) for point in points]
            trials += [ended(proposer, last, state)] * 6
            proposals.append(proposer.propose(trials, [], tried))
        return proposals

    one, other = (0, 0, 0, 3, 0), (3, 1, 2, 0, 3)
    assert after(TrialState.FAIL, one) == after(TrialState.FAIL, other)
    assert after(TrialState.PRUNED, one) != after(TrialState.PRUNED, other)


# --- points ---------------------------------------------------------------------------------------


def test_params_name_every_dimension() -> None:
    proposer = proposer_of()
    point = (3, 1, 2, 0, 1)
    assert proposer.params(point) == dict(
        zip([d.name for d in SPACE.dimensions], point, strict=True)
    )
    for index, (name, each) in enumerate(proposer.ranges().items()):
        assert name == SPACE.dimensions[index].name
        assert (each.low, each.high) == (0, len(SPACE.dimensions[index].choices) - 1)


def test_a_uniform_reference_is_not_proposed_again() -> None:
    """A reference in the way of a start is passed over like any plan that was tried."""
    proposer = proposer_of()
    first = proposer.propose([], [], ())
    assert first is not None
    plan = SPACE.plan(first)
    again = proposer.propose([], [reference(plan)], {plan})
    assert again is not None
    assert again != first
