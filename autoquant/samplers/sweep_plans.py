"""The cells of a sweep: which plans it trains, and with which seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from autoquant.analysis.model_info import ModelInfo
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.budget import Budget
from autoquant.costs.limit import limit_of
from autoquant.costs.size import size
from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.samplers.bit_allocation import Allocation
from autoquant.settings import Search, Sweep
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import pinned, uniform_plan
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepRun

Named = tuple[str, Plan | None, dict[str, Any]]
"""A plan with the name and the values that its cells have; None where none fits its budget."""


def sweep_runs(
    seen: ModelInfo, settings: Search, sweep: Sweep, sensitivity: Sensitivity | None = None
) -> list[SweepRun]:
    """The cells of a sweep; all of one seed before those of the next.

    Args:
        sensitivity: where it is known, bits that fill a budget follow from it.

    Raises:
        UserError: a rule does not suit the network, a budget is none, a plan file is not there or
            of another model, two plans have one name, or widths are asked for and nothing may grow.
    """
    grows = any(each.field == "width" for each in seen.space.dimensions)
    if max(sweep.width, default=1.0) > 1.0 and not grows:
        raise UserError(
            "sweep.width must be [1.0] for a model of which no layer may grow (autoquant profile "
            f"says why; widening.* and rules can let it), got {list(sweep.width)}"
        )
    filled = sweep.budgets
    plans = [*(_filled(seen, settings, sweep, sensitivity) if filled else _uniform(seen, sweep))]
    plans += _read(seen, settings, sweep)
    name, count = Counter(name for name, _, _ in plans).most_common(1)[0]
    if count > 1:
        raise UserError(f"plans of a sweep must have names of their own, got two of {name!r}")
    scratch = "-scratch" if sweep.start == "scratch" else ""
    return [
        SweepRun(f"{name}{scratch}-seed{seed}", plan, seed, sweep.start, **values)
        for seed in sweep.seeds
        for name, plan, values in plans
    ]


def _uniform(seen: ModelInfo, sweep: Sweep) -> Iterator[Named]:
    """The same bits everywhere."""
    for width, weights, activations in product(
        sweep.width, sweep.weight_bits, sweep.activation_bits
    ):
        plan = uniform_plan(seen.space, seen.network, LayerChoice(weights, activations, width))
        values = {"weight_bits": weights, "activation_bits": activations, "width": width}
        yield f"w{weights:g}-a{activations}-x{width:g}", plan, values


def _filled(
    seen: ModelInfo, settings: Search, sweep: Sweep, sensitivity: Sensitivity | None
) -> Iterator[Named]:
    """As many bits as the budget leaves room for: where few hurt, or as even as can be."""
    for text, activations, width in product(sweep.budgets, sweep.activation_bits, sweep.width):
        budget = Budget.parse(text)
        limit = limit_of(
            budget,
            seen.network,
            settings.quantizer,
            float_cost=seen.float_bytes,
            parameters=seen.parameters,
        )
        own = pinned(seen.space, LayerChoice(activation_bits=activations, width=width))
        projection = Projection(own, limit)
        if sensitivity is None:
            points = even_bits(projection)
        else:
            points = Allocation(projection, sensitivity).starts()
        values = {"budget": str(budget), "activation_bits": activations, "width": width}
        name = f"{budget}-a{activations}-x{width:g}"
        yield name, own.plan(points[0]) if points else None, values


def _read(seen: ModelInfo, settings: Search, sweep: Sweep) -> Iterator[Named]:
    """The plan files and the plans that studies chose, by their names."""
    for given in map(Path, sweep.plans):
        plan = Study.open(given).plan() if given.is_dir() else Plan.read(given)
        size.of(seen.network, plan, settings.quantizer)  # refuses one of another model
        yield given.name if given.is_dir() else given.stem, plan, {}
