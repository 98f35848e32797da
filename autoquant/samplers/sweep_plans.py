"""The runs of a sweep: which plans it trains, and with which seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from autoquant.analysis.model_info import SearchInfo
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.budget import Budget
from autoquant.costs.limit import LimitSet, limit_of
from autoquant.costs.size import size
from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.samplers.bit_allocation import BitAllocation
from autoquant.settings import Search, Sweep
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import uniform_plan, weight_bits_only
from autoquant.study.chosen_trials import chosen_plans
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepRun

NamedPlan = tuple[str, Plan | None, dict[str, Any]]
"""Name, plan (None where none fits its budget), and the grid's values as fields of SweepRun."""


def sweep_runs(
    info: SearchInfo, settings: Search, sweep: Sweep, sensitivity: Sensitivity | None = None
) -> list[SweepRun]:
    """The runs of a sweep; all of one seed before those of the next.

    Args:
        info: of the float model.
        settings: of the sweep's trainings; its quantizer gives the sizes.
        sweep: the grid.
        sensitivity: the bits that fill a budget follow from it; when None they are as even as
            possible.

    Raises:
        UserError: a rule does not suit the network, a budget is none, a plan file is not there or
            of another model, two plans have one name, or widths are asked for and nothing may grow.
    """
    _refuse_widths(info, sweep)
    if sweep.budgets:
        plans = [*_filling(info, settings, sweep, sensitivity)]
    else:
        plans = [*_uniform(info, sweep)]
    plans += _from_files(info, settings, sweep)
    name, count = Counter(name for name, _, _ in plans).most_common(1)[0]
    if count > 1:
        raise UserError(f"plans of a sweep must have names of their own, got two of {name!r}")
    scratch = "-scratch" if sweep.init_from == "scratch" else ""
    return [
        SweepRun(f"{name}{scratch}-seed{seed}", plan, seed, sweep.init_from, **values)
        for seed in sweep.seeds
        for name, plan, values in plans
    ]


def _refuse_widths(info: SearchInfo, sweep: Sweep) -> None:
    """Raise a UserError where widths are asked for and no layer may grow."""
    grows = any(dimension.field == "width" for dimension in info.space.dimensions)
    if max(sweep.width, default=1.0) > 1.0 and not grows:
        raise UserError(
            "sweep.width must be [1.0] for a model of which no layer may grow (autoquant profile "
            f"says why; widening.* and rules can let it), got {list(sweep.width)}"
        )


def _uniform(info: SearchInfo, sweep: Sweep) -> Iterator[NamedPlan]:
    """The plans with equal bits in all layers."""
    for width, weights, activations in product(
        sweep.width, sweep.weight_bits, sweep.activation_bits
    ):
        plan = uniform_plan(info.space, info.network, LayerChoice(weights, activations, width))
        values = {"weight_bits": weights, "activation_bits": activations, "width": width}
        yield f"w{weights:g}-a{activations}-x{width:g}", plan, values


def _filling(
    info: SearchInfo, settings: Search, sweep: Sweep, sensitivity: Sensitivity | None
) -> Iterator[NamedPlan]:
    """The plans whose weight bits fill the budgets, at each width and activation bits.

    Args:
        info: of the float model.
        settings: give the quantizer.
        sweep: the grid.
        sensitivity: bits follow from it; when None they are as even as possible.
    """
    for text, activations, width in product(sweep.budgets, sweep.activation_bits, sweep.width):
        budget = Budget.parse(text)
        choice = LayerChoice(activation_bits=activations, width=width)
        space = weight_bits_only(info.space, choice)
        projection = Projection(space, _limits(budget, info, settings))
        if sensitivity is None:
            points = even_bits(projection)
        else:
            points = BitAllocation(projection, sensitivity).initial_points()
        values = {"budget": str(budget), "activation_bits": activations, "width": width}
        name = f"{budget}-a{activations}-x{width:g}"
        yield name, space.plan(points[0]) if points else None, values


def _limits(budget: Budget, info: SearchInfo, settings: Search) -> LimitSet:
    """A budget as the only limit.

    Args:
        budget: of the grid.
        info: of the float model.
        settings: give the quantizer.
    """
    limit = limit_of(
        budget,
        info.network,
        settings.quantizer,
        float_cost=info.float_bytes,
        parameters=info.parameters,
    )
    return LimitSet((limit,))


def _from_files(info: SearchInfo, settings: Search, sweep: Sweep) -> Iterator[NamedPlan]:
    """The plan files and the plans that studies chose, by their names.

    Args:
        info: of the float model.
        settings: give the quantizer.
        sweep: names the files.
    """
    for path in map(Path, sweep.plans):
        folder = path.is_dir()
        plans = chosen_plans(Study.open(path)) if folder else {path.stem: Plan.read(path)}
        for name, plan in plans.items():
            size.of(info.network, plan, settings.quantizer)  # refuses one of another model
            yield name, plan, {}
