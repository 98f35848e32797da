"""Proposer: opens the trials of a search, with the plans that a sampler asks for."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.samplers import BaseSampler

from autoquant.costs.target import size_in_target
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Search
from autoquant.space.activation_bits import uniform_activation_bits
from autoquant.space.search_space import SearchSpace, uniform_plan
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
        return self.storage.ask(self.sampler, self._size)

    def open_references(self) -> None:
        """Open the trials of the uniform plans that have none yet."""
        known = self.storage.outcomes("reference")
        names, plans = {o.trial for o in known}, {o.plan for o in known}
        activation_bits = uniform_activation_bits(self.settings.space)
        for weight_bits in self.settings.references:
            choice = LayerChoice(weight_bits, activation_bits)
            plan = uniform_plan(self.space, self.network, choice)
            if f"w{weight_bits}" not in names and plan not in plans:  # with rules, two may be equal
                self.storage.open_reference(f"w{weight_bits}", plan, self._size(plan))
            plans.add(plan)

    def _size(self, plan: Plan) -> int:
        """Bytes of a plan's packed file, or of the file for its target."""
        return int(size_in_target(self.settings).of(self.network, plan, self.settings.quantizer))
