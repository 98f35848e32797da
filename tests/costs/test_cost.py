"""The registry of costs; a cost from outside, as a limit of a projection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoquant.budget import Budget
from autoquant.costs import COSTS, cost, cost_named
from autoquant.costs.limit import LimitSet, limit_of
from autoquant.costs.plan_costs import PlanCosts, costs_of, float_costs
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Space
from autoquant.space.projection import Projection
from autoquant.space.search_space import build_space
from tests.toys import treebank


@pytest.fixture
def wide_layers() -> Iterator[str]:
    """A cost of this module: how many layers are widened."""

    @cost("wide_layers", unit="layers", fields=("width",))
    def widened(network: Network, plan: Plan, scheme: Scheme) -> int:
        return sum(plan[name].width > 1.0 for name in network.names)

    yield widened.name
    del COSTS["wide_layers"]


def test_every_file_registers_its_cost() -> None:
    assert set(COSTS) == {
        *("size", "activation_memory", "peak_memory", "macs", "bit_ops", "latency"),
        "paper_size_ratio",
    }
    assert all(each.name == name and each.unit and each.fields for name, each in COSTS.items())
    fields = set(LayerChoice.__dataclass_fields__)
    assert all(each.fields <= fields for each in COSTS.values())


def test_a_cost_from_outside_limits_a_projection(wide_layers: str) -> None:
    network = treebank()
    space = build_space(network, network.names, Space(weight_bits=(4, 8), width=(1.0, 2.0)))
    budget = Budget(1, "B", cost=wide_layers)
    limit = limit_of(budget, network, Scheme(), float_cost=1, parameters=1)
    largest = tuple(len(each.choices) - 1 for each in space.dimensions)
    assert limit.of(space.plan(largest)) == 3
    projected = Projection(space, LimitSet((limit,)))(largest)
    assert projected is not None
    assert limit.holds(space.plan(projected))
    fell = [
        d.field
        for d, was, now in zip(space.dimensions, largest, projected, strict=True)
        if now < was
    ]
    assert set(fell) == {"width"}  # the one field that this cost depends on


def test_an_unknown_cost_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"^a cost must be one of .*macs.*, got 'money'$"):
        cost_named("money")


@pytest.mark.parametrize("name", ["size", "activation_memory", "macs", "bit_ops"])
def test_costs_grow_with_their_fields_and_with_no_others(name: str) -> None:
    network, one = treebank(), cost_named(name)
    low = LayerChoice(4, 4, 1.0, recurrent_bits=4, hidden_bits=4)
    high = {"weight_bits": 8, "activation_bits": 8, "recurrent_bits": 8, "hidden_bits": 8}
    plan = Plan.uniform(network.names, low)
    before = one.of(network, plan, Scheme())
    for field, value in {**high, "width": 2.0}.items():
        layer = "rnn.l0"
        after = one.of(network, plan.with_choice(layer, **{field: value}), Scheme())
        assert (after > before) == (field in one.fields), field


def test_plan_costs_are_those_of_the_registry() -> None:
    network = treebank()
    plan = Plan.uniform(network.names, LayerChoice(4, 8))
    costs = costs_of(network, plan, Scheme())
    values = [cost_named(name).of(network, plan, Scheme()) for name in COST_NAMES]
    assert costs == PlanCosts(*values)
    assert float_costs(network).size_bytes == 4 * network.parameters


COST_NAMES = ("size", "activation_memory", "macs", "bit_ops", "paper_size_ratio")
