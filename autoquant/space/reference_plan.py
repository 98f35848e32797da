"""The plan in which sensitivities are measured: bits as even as a budget allows."""

from __future__ import annotations

from autoquant.costs.limit import LimitSet
from autoquant.plan import Plan
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import Point, SearchSpace

ACTIVATION_BITS = 8
"""Activation bits of the plan, where the space has them."""


def reference_plan(space: SearchSpace, limits: LimitSet) -> Plan:
    """The plan without growth whose weight bits are as even as the limits allow.

    Args:
        space: of the search.
        limits: of the plans; the smallest plan of the space is within them.
    """
    points = even_bits(Projection(space, limits))
    point = points[0] if points else space.smallest
    eight = tuple(
        _nearest(dimension.choices, index)
        if dimension.field in ("activation_bits", "hidden_bits")
        else index
        for dimension, index in zip(space.dimensions, point, strict=True)
    )
    return space.plan(_without_growth(space, eight))


def _nearest(choices: tuple[float, ...], index: int) -> int:
    """The last choice of at most ACTIVATION_BITS bits that is not above a choice."""
    fitting = [i for i, bits in enumerate(choices) if bits <= ACTIVATION_BITS and i <= index]
    return fitting[-1] if fitting else index


def _without_growth(space: SearchSpace, point: Point) -> Point:
    """The same bits, with the smallest widths."""
    return tuple(
        0 if dimension.field == "width" else index
        for dimension, index in zip(space.dimensions, point, strict=True)
    )
