"""Cost: a function from plans to numbers, with its unit, and the registry of all costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from autoquant.errors import UserError, shown
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme

CostFunction = Callable[[Network, Plan, Scheme], float]
"""The network before widening, a plan and a scheme -> the cost, in the cost's unit.

Called for every plan that a search considers, before anything is built: it must count from the
plan alone, and give the same number for the same plan."""

LayerFunction = Callable[[Network, LayerSpec, LayerChoice, Scheme], float]
"""The network before widening, a layer of it at the plan's width, the plan's choice for the layer
and a scheme -> what the layer contributes to the cost, in the cost's unit.

It must give the same number for the same layer and choice, whatever the other layers have."""

Constant = Callable[[Network, Network, Scheme], float]
"""The network before widening, the same at a plan's widths, and a scheme -> what is added to the
contributions of the layers. It counts what lies outside of them: norms, and tensors that belong to
no layer."""


@dataclass(frozen=True)
class LayerCost:
    """How a cost is made of a contribution of each layer.

    Attributes:
        of_layer: the contribution of one layer.
        combine: whether the cost is the sum of the contributions, or the largest.
        constant: what is added; None for nothing.
        products: fields of a LayerChoice that a contribution holds products of: it must be a sum of
            functions of the fields of one entry each, or of a single field. The integer program
            (samplers.integer_program) relies on it.
    """

    of_layer: LayerFunction
    combine: Literal["sum", "max"] = "sum"
    constant: Constant | None = None
    products: tuple[tuple[str, ...], ...] = ()

    def of(self, network: Network, plan: Plan, scheme: Scheme) -> float:
        """The cost of a plan.

        Args:
            network: before widening.
            plan: for its layers.
            scheme: how numbers become codes.
        """
        resized = network.resized(plan)
        values = [
            self.of_layer(network, layer, plan[layer.name], scheme) for layer in resized.layers
        ]
        return self.constant_of(network, resized, scheme) + self.combined(values)

    def combined(self, values: Sequence[float]) -> float:
        """The contributions of all layers, combined; 0 of none.

        Args:
            values: the contributions, in the order of the layers.
        """
        return sum(values) if self.combine == "sum" else max(values, default=0)

    def constant_of(self, network: Network, resized: Network, scheme: Scheme) -> float:
        """What is added to the contributions.

        Args:
            network: before widening.
            resized: the same at a plan's widths.
            scheme: how numbers become codes.
        """
        return 0 if self.constant is None else self.constant(network, resized, scheme)


@dataclass(frozen=True)
class Cost:
    """A cost of plans.

    Attributes:
        name: that the ``cost`` of a ``Budget`` refers to.
        unit: of its values, for people: "bytes", "MACs", ...
        fields: fields of a LayerChoice whose values it increases with. When a plan is projected
            onto a budget, only these are lowered.
        of: computes it, from the network before widening, the plan and the scheme.
        layers: how it is made of contributions of the layers; None where that is not known. Then
            every change of a plan is a whole evaluation, and the integer program approximates it.
    """

    name: str
    unit: str
    fields: frozenset[str]
    of: CostFunction
    layers: LayerCost | None = None


COSTS: dict[str, Cost] = {}
"""All costs, by their names."""


def cost(name: str, *, unit: str, fields: Iterable[str]) -> Callable[[CostFunction], Cost]:
    """Register a function of whole plans as a cost; the decorated name is the ``Cost``.

    ``layer_cost`` is the better choice where a cost is the sum, or the largest, of what each layer
    contributes. ``autoquant.costs.limit.Limit`` makes a limit of a cost,
    ``autoquant.space.projection.Projection`` brings points of a space within limits.

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


def layer_cost(
    name: str,
    *,
    unit: str,
    fields: Iterable[str],
    combine: Literal["sum", "max"] = "sum",
    constant: Constant | None = None,
    products: Iterable[tuple[str, ...]] = (),
) -> Callable[[LayerFunction], Cost]:
    """Register a function of one layer as a cost: the sum, or the largest, over all layers.

    Args:
        name: as for ``cost``.
        unit: as for ``cost``.
        fields: as for ``cost``.
        combine: "sum" or "max".
        constant: what is added, see ``Constant``.
        products: fields that a contribution holds products of, see ``LayerCost.products``.

    Returns:
        a decorator of ``function(network, layer, choice, scheme) -> float``.

    >>> @layer_cost("weights", unit="bits", fields=("weight_bits",))
    ... def weights(network, layer, choice, scheme):
    ...     return layer.count * choice.weight_bits
    >>> weights.layers.combine
    'sum'
    """

    def register(function: LayerFunction) -> Cost:
        layers = LayerCost(function, combine, constant, tuple(products))
        COSTS[name] = Cost(name, unit, frozenset(fields), layers.of, layers)
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
