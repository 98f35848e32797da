"""Projection: from any point of the search space to a near one whose plan is within all limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from autoquant.costs.limit import LimitSet
from autoquant.space.cost_table import CostTable, PointCosts, changed
from autoquant.space.search_space import Point, SearchSpace


@dataclass(frozen=True)
class Projection:
    """The projection of points onto limits.

    Attributes:
        space: of the points.
        limits: costs and the largest values of them that a plan may have.
        fill: whether the choices of points below the limits are raised that the first limit's cost
            depends on; widths never are.
    """

    space: SearchSpace
    limits: LimitSet
    fill: bool = True

    @cached_property
    def table(self) -> CostTable:
        """The costs of the limits."""
        return CostTable.of(self.space, self.limits)

    def cost_of(self, point: Point) -> float:
        """The cost of a point's plan that the first limit is for, in its unit.

        Args:
            point: of the space.
        """
        return self.table.values(point)[0]

    def fits(self, point: Point) -> bool:
        """Whether the plan of a point is within all limits.

        Args:
            point: of the space.
        """
        return not self._exceeded(self.table.values(point))

    def __call__(self, point: Point, fixed: frozenset[int] = frozenset()) -> Point | None:
        """A point within all limits, near the given one; None where even the lowest is not.

        First choices are lowered that the cost of an exceeded limit depends on, each time the one
        that has been lowered by the fewest steps (of these, the one that saves most, in shares of
        the exceeded limits). Then choices are raised, each time the one that is lowest relative to
        the given point: up to the given point, and with ``fill`` beyond it.

        If no cost falls when a choice rises, two things hold: the largest number of steps by which
        any choice is lowered is as small as possible, and no single step up would still fit.

        Args:
            point: of the space, within the limits or not.
            fixed: dimensions, by index, that are not changed; nor are those that no limited cost
                depends on.
        """
        fields = frozenset[str]().union(*(cost.fields for cost in self.limits.costs))
        movable = [
            i
            for i, dimension in enumerate(self.space.dimensions)
            if dimension.field in fields and i not in fixed
        ]
        costs = PointCosts(self.table, point)
        if not self._lower(costs, point, movable):
            return None
        self._raise(costs, point, movable)
        return costs.point

    def _exceeded(self, values: tuple[float, ...]) -> list[int]:
        """The limits, by number, that costs are above."""
        return [k for k, limit in enumerate(self.limits) if values[k] > limit.value]

    def _lower(self, costs: PointCosts, origin: Point, movable: list[int]) -> bool:
        """Lower choices until the point fits; whether it does.

        Args:
            costs: of the point, which is changed.
            origin: the point that was given to the projection.
            movable: dimensions, by index, that may be changed.
        """
        while exceeded := self._exceeded(costs.values):
            fields = frozenset[str]().union(*(self.limits.costs[k].fields for k in exceeded))
            point, dimensions = costs.point, self.space.dimensions
            above_lowest = [i for i in movable if point[i] > 0 and dimensions[i].field in fields]
            if not above_lowest:
                return False
            fewest = min(origin[i] - point[i] for i in above_lowest)
            candidates = [i for i in above_lowest if origin[i] - point[i] == fewest]
            index = min(candidates, key=lambda i: self._shares(costs, i, exceeded))
            costs.move(index, point[index] - 1)
        return True

    def _shares(self, costs: PointCosts, index: int, exceeded: list[int]) -> float:
        """The sum of shares of exceeded limits that is left when a choice is lowered by one.

        Args:
            costs: of the point.
            index: of the dimension.
            exceeded: the limits by number.
        """
        values = costs.after(index, costs.point[index] - 1)
        return sum(values[k] / (self.limits.limits[k].value or 1.0) for k in exceeded)

    def _raise(self, costs: PointCosts, origin: Point, movable: list[int]) -> None:
        """Raise choices while the point fits.

        Args:
            costs: of a point that fits, which is changed.
            origin: the point that was given to the projection.
            movable: dimensions, by index, that may be changed.
        """
        candidates = set(movable)
        while True:
            candidates = {i for i in candidates if costs.point[i] < self._ceiling(i, origin)}
            if not candidates:
                return
            lowest = min(candidates, key=lambda i: (costs.point[i] - origin[i], i))
            raised = costs.point[lowest] + 1
            if self._exceeded(costs.after(lowest, raised)):
                candidates.remove(lowest)  # costs only rise from here, so it will never fit
            else:
                costs.move(lowest, raised)

    def _ceiling(self, index: int, origin: Point) -> int:
        """The highest choice of a dimension that a point may be raised to."""
        dimension = self.space.dimensions[index]
        if self.fill and dimension.field in self.limits.budget.cost.fields - {"width"}:
            return len(dimension.choices) - 1
        return origin[index]


def moved(point: Point, index: int, steps: int) -> Point:
    """A point with one choice changed.

    Args:
        point: of the space.
        index: of the dimension.
        steps: by how many choices it is raised; negative ones lower it.
    """
    return changed(point, {index: point[index] + steps})


def even_bits(projection: Projection) -> list[Point]:
    """Points that fill the limits with bits as equal as possible, one for each step of the widths.

    Widths at which nothing fits are left out.

    Args:
        projection: onto the limits; it has the space.
    """
    dimensions = projection.space.dimensions
    widths = frozenset(i for i, dimension in enumerate(dimensions) if dimension.field == "width")
    points = []
    for step in range(projection.space.width_steps):
        highest = tuple(
            min(step, len(dimension.choices) - 1) if i in widths else len(dimension.choices) - 1
            for i, dimension in enumerate(dimensions)
        )
        points.append(projection(highest, widths))
    return [point for point in points if point is not None]
