"""Optuna's distributions of the dimensions of a space."""

from __future__ import annotations

from optuna.distributions import IntDistribution

from autoquant.space.search_space import SearchSpace


def ranges_of(space: SearchSpace) -> dict[str, IntDistribution]:
    """For each dimension, by its name, the indices of its choices.

    Args:
        space: of the search.
    """
    return {d.name: IntDistribution(0, len(d.choices) - 1) for d in space.dimensions}
