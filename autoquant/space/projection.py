"""Projection: from any point of the search space to one whose plan keeps within a limit."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.costs.limit import Limit
from autoquant.space.search_space import Point, SearchSpace


@dataclass(frozen=True)
class Projection:
    """The projection of points onto a budget.

    Attributes:
        space: where the points are from.
        limit: a cost and the largest value of it that a plan may have.
        fill: whether points that leave slack are raised: bits only, never widths.
    """

    space: SearchSpace
    limit: Limit
    fill: bool = True

    def cost_of(self, point: Point) -> float:
        """The cost of a point's plan, in the unit of the limit's cost."""
        return self.limit.of(self.space.plan(point))

    def fits(self, point: Point) -> bool:
        """Whether the plan of a point is within the budget."""
        return self.cost_of(point) <= self.limit.value

    def __call__(self, point: Point, held: frozenset[int] = frozenset()) -> Point | None:
        """A point that fits, near the given one; None where even the lowest choices are too big.

        Choices that the size depends on are lowered, each time the one that has been lowered least
        so far (of these, the one that saves most). Then choices are raised, each time the one that
        stands lowest against where it began: back to where they began, and with ``fill`` beyond.

        Where sizes never shrink with a choice, two things hold: the largest number of steps by
        which any choice falls is as small as can be, and no single step up would still fit.

        Args:
            held: dimensions, by index, that stay as they are; so do those that
                the size does not depend on.
        """
        fields = self.limit.cost.fields
        movable = [
            i
            for i, dimension in enumerate(self.space.dimensions)
            if dimension.field in fields and i not in held
        ]
        lowered = self._lower(point, movable)
        return None if lowered is None else self._raise(lowered, point, movable)

    def _lower(self, point: Point, movable: list[int]) -> Point | None:
        current = point
        while not self.fits(current):
            steps = [i for i in movable if current[i] > 0]
            if not steps:
                return None
            least = min(point[i] - current[i] for i in steps)
            level = [i for i in steps if point[i] - current[i] == least]
            options = [moved(current, i, -1) for i in level]
            current = min(options, key=self.cost_of)
        return current

    def _raise(self, current: Point, origin: Point, movable: list[int]) -> Point:
        open_ = set(movable)
        while True:
            open_ = {i for i in open_ if current[i] < self._ceiling(i, origin)}
            if not open_:
                return current
            lowest = min(open_, key=lambda i: (current[i] - origin[i], i))
            raised = moved(current, lowest, +1)
            if self.fits(raised):
                current = raised
            else:
                open_.remove(lowest)  # sizes only rise from here, so it stays out

    def _ceiling(self, index: int, origin: Point) -> int:
        dimension = self.space.dimensions[index]
        if self.fill and dimension.field != "width":
            return len(dimension.choices) - 1
        return origin[index]


def moved(point: Point, index: int, step: int) -> Point:
    """A point with one choice some steps further."""
    return (*point[:index], point[index] + step, *point[index + 1 :])


def even_bits(projection: Projection) -> list[Point]:
    """For each step of the widths the most even bits that fill the budget, where any do."""
    dimensions = projection.space.dimensions
    held = frozenset(i for i, d in enumerate(dimensions) if d.field == "width")
    found = []
    for width in range(projection.space.width_steps):
        top = tuple(
            min(width, len(d.choices) - 1) if i in held else len(d.choices) - 1
            for i, d in enumerate(dimensions)
        )
        found.append(projection(top, held))
    return [point for point in found if point is not None]
