"""Projection: from any point of the search space to a near one whose plan is within a limit."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.costs.limit import Limit
from autoquant.space.search_space import Point, SearchSpace


@dataclass(frozen=True)
class Projection:
    """The projection of points onto a budget.

    Attributes:
        space: of the points.
        limit: a cost and the largest value of it that a plan may have.
        fill: whether the bits of points below the limit are raised; widths never are.
    """

    space: SearchSpace
    limit: Limit
    fill: bool = True

    def cost_of(self, point: Point) -> float:
        """The cost of a point's plan, in the unit of the limit's cost.

        Args:
            point: of the space.
        """
        return self.limit.of(self.space.plan(point))

    def fits(self, point: Point) -> bool:
        """Whether the plan of a point is within the limit.

        Args:
            point: of the space.
        """
        return self.cost_of(point) <= self.limit.value

    def __call__(self, point: Point, fixed: frozenset[int] = frozenset()) -> Point | None:
        """A point within the limit, near the given one; None where even the lowest is not.

        First choices that the cost depends on are lowered, each time the one that has been lowered
        by the fewest steps (of these, the one that saves most). Then choices are raised, each time
        the one that is lowest relative to the given point: up to the given point, and with ``fill``
        beyond it.

        If no cost falls when a choice rises, two things hold: the largest number of steps by which
        any choice is lowered is as small as possible, and no single step up would still fit.

        Args:
            point: of the space, within the limit or not.
            fixed: dimensions, by index, that are not changed; nor are those that the cost does not
                depend on.
        """
        fields = self.limit.cost.fields
        movable = [
            i
            for i, dimension in enumerate(self.space.dimensions)
            if dimension.field in fields and i not in fixed
        ]
        lowered = self._lower(point, movable)
        return None if lowered is None else self._raise(lowered, point, movable)

    def _lower(self, point: Point, movable: list[int]) -> Point | None:
        """Lower choices until the point fits; None where it cannot."""
        current = point
        while not self.fits(current):
            above_lowest = [i for i in movable if current[i] > 0]
            if not above_lowest:
                return None
            fewest = min(point[i] - current[i] for i in above_lowest)
            candidates = [i for i in above_lowest if point[i] - current[i] == fewest]
            current = min((moved(current, i, -1) for i in candidates), key=self.cost_of)
        return current

    def _raise(self, current: Point, origin: Point, movable: list[int]) -> Point:
        """Raise choices while the point fits.

        Args:
            current: a point that fits.
            origin: the point that was given to the projection.
            movable: dimensions, by index, that may be changed.
        """
        candidates = set(movable)
        while True:
            candidates = {i for i in candidates if current[i] < self._ceiling(i, origin)}
            if not candidates:
                return current
            lowest = min(candidates, key=lambda i: (current[i] - origin[i], i))
            raised = moved(current, lowest, +1)
            if self.fits(raised):
                current = raised
            else:
                candidates.remove(lowest)  # costs only rise from here, so it will never fit

    def _ceiling(self, index: int, origin: Point) -> int:
        """The highest choice of a dimension that a point may be raised to."""
        dimension = self.space.dimensions[index]
        if self.fill and dimension.field != "width":
            return len(dimension.choices) - 1
        return origin[index]


def moved(point: Point, index: int, steps: int) -> Point:
    """A point with one choice changed.

    Args:
        point: of the space.
        index: of the dimension.
        steps: by how many choices it is raised; negative ones lower it.
    """
    return (*point[:index], point[index] + steps, *point[index + 1 :])


def even_bits(projection: Projection) -> list[Point]:
    """Points that fill the limit with bits as equal as possible, one for each step of the widths.

    Widths at which nothing fits are left out.

    Args:
        projection: onto the limit; it has the space.
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
