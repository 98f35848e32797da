"""Halving: which plans go on to the next rung. Every size and every width keeps its best plan."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

from autoquant.plan import Plan
from autoquant.study.outcome import Outcome, loss_of
from autoquant.task import Direction

SIZE_GROUPS = 3
"""Groups of sizes below the largest budget, of equal width on a logarithmic scale."""
LOW_BITS = 2
"""Weights of at most so many bits need longer training than others before they can be compared."""
AT_BUDGET = 0.95
"""A plan of at least this share of a budget belongs to the group of that budget."""


def promoted(
    outcomes: Sequence[Outcome],
    budgets: Sequence[int],
    direction: Direction,
    share: float,
    sizes: Mapping[str, int],
) -> list[Outcome]:
    """The plans that go on: in every group the best one of each width, and a share of all.

    Successive halving (Jamieson and Talwalkar 2016), stratified: a short training ranks plans of
    one size, of one width and of similar bits better than others.

    Args:
        outcomes: proposals with a score on the rung.
        budgets: in bytes, the largest first.
        direction: whether low or high scores are good.
        share: of each group that goes on, rounded up.
        sizes: number of weights of each layer, by name.

    Returns:
        the plans, in the order of ``outcomes``.
    """
    kept: set[str] = set()
    ranked = sorted(outcomes, key=lambda outcome: loss_of(outcome, direction))
    smallest = min((outcome.size_bytes for outcome in outcomes), default=1)
    for group in _groups(ranked, lambda o: size_group(o.size_bytes, budgets, smallest)):
        few = _groups(group, lambda o: is_low_bit(o.plan, sizes))
        kept |= {o.trial for part in few for o in part[: math.ceil(share * len(part))]}
        kept |= {part[0].trial for part in _groups(group, lambda o: widths_of(o.plan))}
    return [outcome for outcome in outcomes if outcome.trial in kept]


def best_of_each_width(outcomes: Iterable[Outcome], direction: Direction) -> list[Outcome]:
    """The plan with the best score of each assignment of widths.

    Args:
        outcomes: proposals with a score on one rung.
        direction: whether low or high scores are good.
    """
    ranked = sorted(outcomes, key=lambda outcome: loss_of(outcome, direction))
    return [part[0] for part in _groups(ranked, lambda o: widths_of(o.plan))]


def size_group(size_bytes: int, budgets: Sequence[int], smallest: int) -> tuple[str, int]:
    """The group of sizes that a plan belongs to: that of a budget, or one below the largest.

    Args:
        size_bytes: of the packed file.
        budgets: in bytes, the largest first.
        smallest: the smallest file of all plans that are compared.
    """
    for budget in budgets:
        if AT_BUDGET * budget <= size_bytes <= budget:
            return "budget", budget
    span = math.log(max(budgets[0], smallest + 1) / smallest)
    position = math.log(max(size_bytes, smallest) / smallest) / span
    return "smaller", min(SIZE_GROUPS - 1, int(SIZE_GROUPS * position))


def widths_of(plan: Plan) -> tuple[float, ...]:
    """The width of every layer of a plan."""
    return tuple(choice.width for choice in plan.choices.values())


def is_low_bit(plan: Plan, sizes: Mapping[str, int]) -> bool:
    """Whether at least half of a plan's weights have LOW_BITS bits or fewer.

    Args:
        plan: of all layers.
        sizes: number of weights of each layer, by name.
    """
    low = sum(sizes[name] for name, c in plan.choices.items() if c.weight_bits <= LOW_BITS)
    return 2 * low >= sum(sizes.values())


def _groups(outcomes: Sequence[Outcome], key: object) -> list[list[Outcome]]:
    """Outcomes by a key, the keys in the order in which they come.

    Args:
        outcomes: in any order, which stays within each group.
        key: gives the key of an outcome.
    """
    assert callable(key)
    groups: dict[Hashable, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return [*groups.values()]
