"""Whether any plan of a space is within the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoquant.costs.limit import LimitSet
from autoquant.errors import UserError
from autoquant.space.cost_table import CostTable, PointCosts
from autoquant.space.search_space import Point, SearchSpace

Choose = Callable[[Sequence[float]], float]
"""``min`` or ``max``."""


def check_reachable(space: SearchSpace, limits: LimitSet, notes: dict[str, str]) -> None:
    """Raise a UserError for limits that no plan of a space is within.

    Args:
        space: of the plans.
        limits: on them.
        notes: by the names of costs, what errors add about the smallest value of a cost.

    Raises:
        UserError: a limit is below the smallest value of its cost, or each limit can be met, but
            not by one plan.
    """
    table = CostTable.of(space, limits)
    points = [_extreme(table, number, space.smallest, min) for number in range(len(limits))]
    for number, (limit, point) in enumerate(zip(limits, points, strict=True)):
        smallest = table.values(point)[number]
        if smallest > limit.value:
            raise limit.too_low(smallest, notes.get(limit.cost.name, ""))
    plans = (space.plan(point) for point in (space.smallest, *points))
    if not any(limits.holds(plan) for plan in plans):
        names = " and ".join(f"{limit.name}={limit.written}" for limit in limits)
        raise UserError(f"limits must be met by one plan of the space, got {names}")


def largest_size(space: SearchSpace, limits: LimitSet, point: Point) -> float:
    """The largest value that the cost of the budget has at the widths of a point.

    Args:
        space: of the plans.
        limits: on them; other ones than the budget are left out.
        point: of the space.
    """
    table = CostTable.of(space, limits)
    return table.values(_extreme(table, 0, point, max))[0]


def _extreme(table: CostTable, number: int, start: Point, choose: Choose) -> Point:
    """The point with the smallest or the largest value of a cost, found choice by choice.

    The smallest one is the smallest point of the space where no cost falls when a choice rises.
    Activations of 16 bits store no scale, so that they take a few bytes less than those of 8 bits.

    Args:
        table: of the costs.
        number: of the cost.
        start: has the widths.
        choose: ``min`` or ``max``.
    """
    costs = PointCosts(table, start)
    for i in table.bit_dimensions():
        steps = range(len(table.space.dimensions[i].choices))
        values = [costs.after(i, step)[number] for step in steps]
        costs.move(i, values.index(choose(values)))
    return costs.point
