"""Finalists: which plans are trained on the last rung and compared there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from autoquant.rounds.halving import best_of_each_width, size_group
from autoquant.study.outcome import Outcome, loss_of
from autoquant.task import Direction


def on_rung(outcomes: Iterable[Outcome], steps: int) -> list[Outcome]:
    """Plans as they were on a rung, each with its score in the data order of the seed.

    All plans have that one. Their ranks do not change when they get other data orders or go on.

    Args:
        outcomes: in any state; those without a score on the rung are left out.
        steps: of the rung.
    """
    known = ((outcome, outcome.by_order(steps)) for outcome in outcomes)
    return [replace(o, steps=steps, score=scores[0]) for o, scores in known if 0 in scores]


def first_and_best(
    firsts: Collection[str], outcomes: Sequence[Outcome], count: int, direction: Direction
) -> list[Outcome]:
    """The first plan and the best others.

    Args:
        firsts: names of the first proposals of all budgets; of those in ``outcomes`` the first one
            is taken.
        outcomes: plans within a budget, on one rung, in the order of their proposals.
        count: of the plans in all.
        direction: whether low or high scores are good.
    """
    first = [o for o in outcomes if o.trial in firsts][:1]
    others = sorted((o for o in outcomes if o not in first), key=lambda o: loss_of(o, direction))
    return first + others[: count - len(first)]


def nearest_to(
    bound: float, outcomes: Sequence[Outcome], count: int, direction: Direction
) -> list[Outcome]:
    """The smallest plans within a loss, and those that are next to it from above.

    Args:
        bound: the largest accepted loss.
        outcomes: plans on one rung.
        count: of the plans in all.
        direction: whether low or high scores are good.
    """
    ranked = sorted(outcomes, key=lambda o: loss_of(o, direction))
    within = [o for o in ranked if loss_of(o, direction) <= bound]
    above = [o for o in ranked if loss_of(o, direction) > bound]
    smallest = sorted(within, key=lambda o: o.size_bytes)
    kept = max(count - 1, 1) if above else count
    return (smallest[:kept] + above)[:count]


def front_plans(
    outcomes: Sequence[Outcome], budgets: Sequence[int], direction: Direction
) -> list[Outcome]:
    """The best plan of each group of sizes, and of each width.

    Args:
        outcomes: plans on one rung.
        budgets: in bytes, the largest first.
        direction: whether low or high scores are good.
    """
    smallest = min((o.size_bytes for o in outcomes), default=1)
    by_group: dict[tuple[str, int], Outcome] = {}
    for outcome in sorted(outcomes, key=lambda o: loss_of(o, direction)):
        group = size_group(outcome.size_bytes, budgets, smallest)
        by_group.setdefault(group, outcome)
    return [*by_group.values(), *best_of_each_width(outcomes, direction)]
