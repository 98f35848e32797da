"""The plan in which sensitivities are measured: bits as even as a budget allows."""

from __future__ import annotations

from autoquant.costs.limit import LimitSet
from autoquant.plan import Plan
from autoquant.space.activation_bits import usual_choices
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import Point, SearchSpace


def reference_plan(space: SearchSpace, limits: LimitSet) -> Plan:
    """The plan without growth whose weight bits are as even as the limits allow.

    Args:
        space: of the search.
        limits: of the plans; the smallest plan of the space is within them.
    """
    points = even_bits(Projection(space, limits))
    point = points[0] if points else space.smallest
    eight = tuple(
        min(index, len(usual_choices(dimension.choices)) - 1)
        if dimension.field in ("activation_bits", "hidden_bits")
        else index
        for dimension, index in zip(space.dimensions, point, strict=True)
    )
    return space.plan(_without_growth(space, eight))


def _without_growth(space: SearchSpace, point: Point) -> Point:
    """The same bits, with the smallest widths."""
    return tuple(
        0 if dimension.field == "width" else index
        for dimension, index in zip(space.dimensions, point, strict=True)
    )
