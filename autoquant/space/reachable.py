"""Whether any plan of a space is within the limits."""

from __future__ import annotations

from autoquant.costs.limit import LimitSet
from autoquant.errors import UserError
from autoquant.space.cost_table import CostTable, PointCosts
from autoquant.space.search_space import Point, SearchSpace


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
    points = [_lowest(table, number) for number in range(len(limits))]
    for number, (limit, point) in enumerate(zip(limits, points, strict=True)):
        smallest = table.values(point)[number]
        if smallest > limit.value:
            raise limit.too_low(smallest, notes.get(limit.cost.name, ""))
    plans = (space.plan(point) for point in (space.smallest, *points))
    if not any(limits.holds(plan) for plan in plans):
        names = " and ".join(f"{limit.name}={limit.written}" for limit in limits)
        raise UserError(f"limits must be met by one plan of the space, got {names}")


def _lowest(table: CostTable, number: int) -> Point:
    """The point with the smallest value of a cost, found choice by choice.

    It is the smallest point of the space where no cost falls when a choice rises. Activations of
    16 bits store no scale, so that they take a few bytes less than those of 8 bits.

    Args:
        table: of the costs.
        number: of the cost.
    """
    costs = PointCosts(table, table.space.smallest)
    for i in table.bit_dimensions():
        steps = range(len(table.space.dimensions[i].choices))
        values = [costs.after(i, step)[number] for step in steps]
        costs.move(i, values.index(min(values)))
    return costs.point
