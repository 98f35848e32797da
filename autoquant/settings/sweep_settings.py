"""Sweep: which plans a sweep trains."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.plan import Bits
from autoquant.settings.checks import (
    check_choices,
    check_types,
    checked_budget,
    checked_list,
    checked_path,
    require,
)
from autoquant.settings.renamed import old_fields

INIT_FROM = ("baseline", "scratch")
"""What a plan is trained from: the trained float model, or new random weights."""


@old_fields("sweep.")
@dataclass(frozen=True)
class Sweep:
    """Which plans a sweep trains: a grid of uniform ones, or of ones filled up to a budget.

    Attributes:
        weight_bits: Bits of all weights, recurrent ones included.
        activation_bits: Bits of all layer inputs and hidden states.
        width: Neuron multipliers of the layers that may grow, by the profile or by a rule.
        budgets: Instead of weight_bits: for each budget, activation_bits and width the bits that
            fill the budget, more of them where the sensitivity is high (see sensitivity; 0:
            evenly). Plans of all widths then have equal true bytes.
        plans: Plan files to train beside the grid, and studies, for the plans that they chose:
            one for each budget of a search.
        seeds: Each plan is trained once with each: its growth, its batches, its dropout; from
            scratch also its first weights.
        init_from: "baseline" grows the trained float model, its function kept, and trains as
            ``final`` says; "scratch" draws new weights and trains in low precision from the first
            step, as ``baseline`` says; in the first half of that training all scales are
            recalibrated sixteen times.
        test: Whether the test split is scored as well.
        save: Whether the packed file of each run is kept in the study's folder ``packed``, for
            ``evaluate`` and ``load``; runs that were trained without this have none.
    """

    weight_bits: tuple[Bits, ...] = (8, 4, 3, 2)
    activation_bits: tuple[int, ...] = (8,)
    width: tuple[float, ...] = (1.0,)
    budgets: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    init_from: str = "baseline"
    test: bool = True
    save: bool = False

    def __post_init__(self) -> None:
        check_types(self, "sweep.")
        for name in ("weight_bits", "activation_bits", "width", "budgets", "plans", "seeds"):
            values = checked_list(f"sweep.{name}", getattr(self, name))
            object.__setattr__(self, name, values)
            twice = len(set(values)) != len(values)
            require(not twice, f"sweep.{name} must name each value once", list(values))
        budgets = tuple(checked_budget("sweep.budgets", budget) for budget in self.budgets)
        object.__setattr__(self, "budgets", budgets)
        plans = tuple(checked_path("sweep.plans", plan) for plan in self.plans)
        object.__setattr__(self, "plans", plans)
        for name in ("weight_bits", "activation_bits", "width"):
            check_choices("sweep", name, getattr(self, name))
        whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in self.seeds)
        require(bool(self.seeds) and whole, "sweep.seeds must be whole numbers", list(self.seeds))
        grid = (self.budgets or self.weight_bits) and self.activation_bits and self.width
        require(bool(grid or self.plans), "sweep must have a grid or plans", "neither")
        requirement = f"sweep.init_from must be {' or '.join(INIT_FROM)}"
        require(self.init_from in INIT_FROM, requirement, self.init_from)
