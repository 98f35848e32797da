"""The dimensions of a space as Optuna's parameters."""

from __future__ import annotations

from optuna.distributions import IntDistribution

from autoquant.plan import Plan
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.study.parameters import Indices, Parameters, Ranges


def ranges_of(space: SearchSpace) -> Ranges:
    """For each dimension, by its name, the indices of its choices.

    Args:
        space: of the search.
    """
    return Ranges({d.name: IntDistribution(0, len(d.choices) - 1) for d in space.dimensions})


def parameters_of(space: SearchSpace) -> Parameters:
    """The parameters of a search.

    Args:
        space: of the search.
    """

    def indices_of(plan: Plan) -> Indices | None:
        return space.point(plan) if {*plan.choices} == {*space.layers} else None

    def readable(indices: Indices) -> dict[str, str]:
        pairs = zip(space.dimensions, indices, strict=True)
        return {dimension.name: _readable(dimension, index) for dimension, index in pairs}

    return Parameters(ranges_of(space), space.plan, indices_of, readable)


def _readable(dimension: Dimension, index: int) -> str:
    """A choice for people: "4 bits", "x1.5"."""
    value = dimension.choices[index]
    return f"x{value:g}" if dimension.field == "width" else f"{value:g} bits"
