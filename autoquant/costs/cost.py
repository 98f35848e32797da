"""Cost: a function from plans to numbers, with its unit, and the registry of all costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autoquant.errors import UserError, shown
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme

CostFunction = Callable[[Network, Plan, Scheme], float]
"""The network before widening, a plan and a scheme -> the cost, in the cost's unit.

Called for every plan that a search considers, before anything is built: it must count from the
plan alone, and give the same number for the same plan."""


@dataclass(frozen=True)
class Cost:
    """A cost of plans.

    Attributes:
        name: that the ``cost`` of a ``Budget`` refers to.
        unit: of its values, for people: "bytes", "MACs", ...
        fields: fields of a LayerChoice whose values it increases with. When a plan is projected
            onto a budget, only these are lowered.
        of: computes it, from the network before widening, the plan and the scheme.
    """

    name: str
    unit: str
    fields: frozenset[str]
    of: CostFunction


COSTS: dict[str, Cost] = {}
"""All costs, by their names."""


def cost(name: str, *, unit: str, fields: Iterable[str]) -> Callable[[CostFunction], Cost]:
    """Register a function as a cost; the decorated name is the ``Cost``.

    ``autoquant.costs.limit.Limit`` makes a limit of it, ``autoquant.space.projection.Projection``
    brings points of a space within the limit. ``search`` and ``sweep`` limit the cost "size".

    Args:
        name: that the ``cost`` of a ``Budget`` refers to; a name that is registered again is
            replaced.
        unit: of the function's values, for people.
        fields: fields of a LayerChoice whose values the cost increases with, such as
            "weight_bits" and "width"; only these are lowered to meet a budget.

    Returns:
        a decorator of ``function(network, plan, scheme) -> float``.

    >>> @cost("layers", unit="layers", fields=())
    ... def layers(network, plan, scheme):
    ...     return len(plan.choices)
    >>> layers.unit
    'layers'
    """

    def register(function: CostFunction) -> Cost:
        COSTS[name] = Cost(name, unit, frozenset(fields), function)
        return COSTS[name]

    return register


def cost_named(name: str) -> Cost:
    """A registered cost.

    Args:
        name: its name.

    Raises:
        UserError: there is no such cost.
    """
    if name not in COSTS:
        raise UserError(f"a cost must be one of {', '.join(sorted(COSTS))}, got {shown(name)}")
    return COSTS[name]
