"""Limit: a cost and the largest value of it that a plan may have; LimitSet: several of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autoquant.budget import Budget, setting_of
from autoquant.costs.cost import Cost, cost_named
from autoquant.costs.target import size_in_target
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Search


@dataclass(frozen=True)
class Limit:
    """A cost of the plans of one network, and its largest accepted value.

    Attributes:
        cost: what is limited.
        value: the largest accepted value, in the cost's unit.
        network: the network before widening.
        scheme: how numbers become codes.
        float_cost: the cost of the float model, in the cost's unit; None where it is not known.
        written: the value as the user wrote it.
    """

    cost: Cost
    value: float
    network: Network
    scheme: Scheme
    float_cost: float | None = None
    written: str = ""

    @property
    def name(self) -> str:
        """The setting that it has its value from."""
        return setting_of(self.cost.name)

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

    def too_low(self, smallest: float, details: str = "") -> UserError:
        """The error that no plan is within the limit.

        Args:
            smallest: the smallest value that a plan reaches.
            details: what more is said of it.
        """
        unit = self.cost.unit
        share = f" ({smallest / self.float_cost:.4f}x)" if self.float_cost else ""
        written = f"{self.written} = " if self.written else ""
        widths = "; widths only grow" if self.cost.name == "macs" else ""
        return UserError(
            f"{self.name} must be at least {_number(smallest)} {unit}{share}, the smallest "
            f"{self.cost.name} that any plan of the space reaches{details}, got "
            f"{written}{_number(self.value)} {unit}{widths}"
        )


def _number(value: float) -> str:
    """A value of a cost for people: whole numbers as they are."""
    return f"{int(value)}" if value == int(value) else f"{value:.4g}"


@dataclass(frozen=True)
class LimitSet:
    """All limits on the plans of one network; each must hold.

    Attributes:
        limits: at least one; of equal network and scheme, and of different costs. The first is the
            budget: proposals are filled up to it.
    """

    limits: tuple[Limit, ...]

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.limits)

    def __len__(self) -> int:
        return len(self.limits)

    @property
    def budget(self) -> Limit:
        """The first limit: of a search, that of the size."""
        return self.limits[0]

    @property
    def network(self) -> Network:
        """The network before widening."""
        return self.budget.network

    @property
    def scheme(self) -> Scheme:
        """How numbers become codes."""
        return self.budget.scheme

    @property
    def costs(self) -> tuple[Cost, ...]:
        """The cost of each limit."""
        return tuple(limit.cost for limit in self.limits)

    def values(self, plan: Plan) -> dict[str, float]:
        """The costs of a plan by their names.

        Args:
            plan: for the layers of the network.
        """
        return {limit.cost.name: limit.of(plan) for limit in self.limits}

    def holds(self, plan: Plan) -> bool:
        """Whether a plan is within all limits.

        Args:
            plan: for the layers of the network.
        """
        return all(limit.holds(plan) for limit in self.limits)

    def with_budget(self, value: float) -> LimitSet:
        """The same limits with another value of the first one.

        Args:
            value: the largest accepted value, in the unit of the first limit's cost.
        """
        return LimitSet((replace(self.budget, value=value), *self.limits[1:]))


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
    return Limit(cost_named(budget.cost), value, network, scheme, float_cost, str(budget))


def limits_of(settings: Search, network: Network, *, float_bytes: int, parameters: int) -> LimitSet:
    """The budget and the limits of a search.

    Args:
        settings: of the search.
        network: the network before widening.
        float_bytes: bytes of the float model's tensors.
        parameters: number of its parameters.

    Raises:
        UserError: a limit is not written as it must be.
    """
    plan, limits = Plan.uniform(network.names, LayerChoice()), []
    for budget in (Budget.parse(settings.budgets[0]), *settings.limits.budgets):
        is_size = budget.cost == "size"
        cost = size_in_target(settings) if is_size else cost_named(budget.cost)
        float_cost = float_bytes if is_size else cost.of(network, plan, settings.quantizer)
        value = budget.value(float_cost=float_cost, parameters=parameters)
        scheme = settings.quantizer
        limits.append(Limit(cost, value, network, scheme, float_cost, str(budget)))
    return LimitSet(tuple(limits))
