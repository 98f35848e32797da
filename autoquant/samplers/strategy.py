"""Which sampler proposes the plans of a search."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.samplers import BaseSampler

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.costs.limit import LimitSet
from autoquant.samplers.integer_program import IntegerProgram
from autoquant.samplers.loss_tables import LossTables
from autoquant.samplers.program_sampler import ProgramSampler
from autoquant.samplers.projected_sampler import ProjectedSampler
from autoquant.samplers.proposals import Proposals
from autoquant.samplers.registry import new_sampler
from autoquant.samplers.size_targets import SizeTargets
from autoquant.settings import Search
from autoquant.space.projection import Projection
from autoquant.space.search_space import SearchSpace

DEFAULT = "program"
"""Name of the sampler that is not one of Optuna's."""


@dataclass(frozen=True)
class Strategy:
    """What the sampler of a search is made of.

    Attributes:
        settings: name the sampler and give the seed.
        space: of the points.
        limits: of the plans; the size is that of the largest budget.
        targets: sizes of the proposals.
    """

    settings: Search
    space: SearchSpace
    limits: LimitSet
    targets: SizeTargets

    def check(self) -> None:
        """Raise a UserError where there is no such sampler."""
        if self.settings.sampler != DEFAULT:
            new_sampler(self.settings.sampler, self.settings.seed)

    def sampler(self, sensitivity: Sensitivity | None, allowed: float | None = None) -> BaseSampler:
        """The sampler.

        Args:
            sensitivity: that proposals follow from; None where it was not measured.
            allowed: increase of the loss that is accepted, where the smallest plan is looked for.
        """
        settings = self.settings
        if settings.sampler != DEFAULT:
            projection = Projection(self.space, self.limits, settings.fill)
            return ProjectedSampler(settings.sampler, projection, settings.seed)
        program = IntegerProgram(self.space, self.limits)
        proposals = Proposals(program, self.targets, settings.seed, allowed)
        return ProgramSampler(proposals, LossTables.of(self.space, sensitivity))
