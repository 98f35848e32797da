"""Parameters: how the plans of proposals are written as numbers, which samplers see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from autoquant.plan import Plan

Indices = tuple[int, ...]
"""For each parameter the index of its choice."""


class Ranges(dict[str, BaseDistribution]):
    """Optuna's distributions by the names of the parameters; all trials share one object.

    Optuna copies a trial that is added to a study, and a hundred distributions with it, which take
    ten times the time and memory of the rest. Nobody changes them.
    """

    def __deepcopy__(self, _: Any) -> Ranges:
        return self


@dataclass(frozen=True)
class Parameters:
    """The parameters of a search.

    Attributes:
        ranges: by name, the indices of a parameter's choices, in the order of the indices.
        plan_of: gives the plan of indices; a LookupError or ValueError where there is none.
        indices_of: the inverse; None where a plan is not in the space.
        readable: gives by parameter what its choice is called, such as "4 bits".
    """

    ranges: Ranges
    plan_of: Callable[[Indices], Plan]
    indices_of: Callable[[Plan], Indices | None]
    readable: Callable[[Indices], Mapping[str, str]]
