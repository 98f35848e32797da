"""Limit: a cost and the largest value of it that a plan may have."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.budget import Budget
from autoquant.costs.cost import Cost, cost_named
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


@dataclass(frozen=True)
class Limit:
    """A cost of the plans of one network, and its largest accepted value.

    Attributes:
        cost: what is limited.
        value: the largest accepted value, in the cost's unit.
        network: the network before widening.
        scheme: how numbers become codes.
    """

    cost: Cost
    value: float
    network: Network
    scheme: Scheme

    def of(self, plan: Plan) -> float:
        """The cost of a plan, in the cost's unit.

        Args:
            plan: for the layers of the network.
        """
        return self.cost.of(self.network, plan, self.scheme)

    def holds(self, plan: Plan) -> bool:
        """Whether a plan costs at most ``value``.

        Args:
            plan: for the layers of the network.
        """
        return self.of(plan) <= self.value


def limit_of(
    budget: Budget, network: Network, scheme: Scheme, *, float_cost: float, parameters: int
) -> Limit:
    """A budget as a limit on the plans of a network.

    Args:
        budget: as the user wrote it; it names the cost.
        network: the network before widening.
        scheme: how numbers become codes.
        float_cost: the cost of the float model, which ``0.15x`` is a share of, in the cost's unit.
        parameters: number of weights of the float model, which ``4.5bpw`` counts bits for.

    Raises:
        UserError: the budget names a cost that is not registered.
    """
    value = budget.value(float_cost=float_cost, parameters=parameters)
    return Limit(cost_named(budget.cost), value, network, scheme)
