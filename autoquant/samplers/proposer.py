"""Proposer: opens the trials of a search, with the plans that a sampler asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.samplers import BaseSampler

from autoquant.costs.target import size_in_target
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.samplers.ranges import ranges_of
from autoquant.settings import Search
from autoquant.space.activation_bits import uniform_activation_bits
from autoquant.space.search_space import Point, SearchSpace, uniform_plan
from autoquant.study.trial_storage import TrialStorage


@dataclass(frozen=True)
class Proposer:
    """Opens trials for the proposals and for the uniform plans of a search.

    Attributes:
        storage: of the trials.
        sampler: Optuna's; it proposes points of the space.
        space: of the points.
        network: before widening.
        settings: give the quantizer and the uniform plans.
    """

    storage: TrialStorage
    sampler: BaseSampler
    space: SearchSpace
    network: Network
    settings: Search

    def open_next(self) -> Plan | None:
        """Open a trial for the next plan; None where there is none left."""
        ranges = ranges_of(self.space)
        return self.storage.ask(self.sampler, ranges, self._describe)

    def open_references(self) -> None:
        """Open the trials of the uniform plans that have none yet."""
        known = [o for o in self.storage.outcomes() if o.role == "reference"]
        names, plans = {o.trial for o in known}, {o.plan for o in known}
        activation_bits = uniform_activation_bits(self.settings.space)
        for weight_bits in self.settings.references:
            choice = LayerChoice(weight_bits, activation_bits)
            plan = uniform_plan(self.space, self.network, choice)
            if f"w{weight_bits}" not in names and plan not in plans:  # with rules, two may be equal
                self.storage.open_reference(f"w{weight_bits}", plan, self._size(plan))
            plans.add(plan)

    def _describe(self, params: Mapping[str, int]) -> tuple[Plan, dict[str, Any]]:
        """The plan of parameters, its size, and the values of the choices for people."""
        point: Point = tuple(params[dimension.name] for dimension in self.space.dimensions)
        plan = self.space.plan(point)
        readable = {
            dimension.name: _readable(dimension.field, dimension.choices[choice])
            for dimension, choice in zip(self.space.dimensions, point, strict=True)
        }
        return plan, {"size_bytes": self._size(plan), "choices": readable}

    def _size(self, plan: Plan) -> int:
        """Bytes of a plan's packed file, or of the file for its target."""
        return int(size_in_target(self.settings).of(self.network, plan, self.settings.quantizer))


def _readable(field: str, value: float) -> str:
    """A choice for people: "4 bits", "x1.5"."""
    return f"x{value:g}" if field == "width" else f"{value:g} bits"


def params_in(space: SearchSpace, plan: Plan) -> dict[str, int] | None:
    """A plan as Optuna's parameters; None where it is not in the space.

    Args:
        space: of the search.
        plan: for all layers of the space.
    """
    if {*plan.choices} != {*space.layers}:
        return None
    point = space.point(plan)
    return None if point is None else dict(zip(ranges_of(space), point, strict=True))
