"""Costs from tables against whole evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoquant.artifact import manifest
from autoquant.costs import COSTS, cost_named, layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme, Space
from autoquant.space.cost_table import CostTable, PointCosts, changed
from autoquant.space.search_space import Point, build_space
from tests import toys
from tests.toys import prepared

NETWORK = prepared(toys.language_model(layers=2))[1]
GROWING = [name for name in NETWORK.names if NETWORK.why_fixed(name) is None]
SPACE = build_space(
    NETWORK, GROWING, Space((1, 1.6, 4, 8, 16), (4, 8, 16), (1.0, 1.25, 2.0), split_recurrent=True)
)
COUNTED = tuple(COSTS[name] for name in sorted(COSTS) if name != "latency")
SIZES = [len(d.choices) for d in SPACE.dimensions]
POINTS = st.tuples(*(st.integers(0, size - 1) for size in SIZES))


def whole(point: Point) -> tuple[float, ...]:
    return tuple(cost.of(NETWORK, SPACE.plan(point), Scheme()) for cost in COUNTED)


@settings(max_examples=30)
@given(POINTS)
def test_a_table_has_the_costs_of_whole_plans(point: Point) -> None:
    values = CostTable(SPACE, NETWORK, Scheme(), COUNTED).values(point)
    assert values == whole(point)
    size = values[COUNTED.index(cost_named("size"))]
    assert size == manifest.size_bytes(NETWORK, SPACE.plan(point), Scheme())


@settings(max_examples=15)
@given(POINTS, st.lists(st.tuples(st.integers(0, len(SIZES) - 1), st.integers(0, 4)), max_size=6))
def test_costs_follow_every_change_of_a_point(point: Point, moves: list[tuple[int, int]]) -> None:
    costs = PointCosts(CostTable(SPACE, NETWORK, Scheme(), COUNTED), point)
    for index, choice in moves:
        step = choice % SIZES[index]
        expected = whole(changed(costs.point, {index: step}))
        assert costs.after(index, step) == expected
        costs.move(index, step)
        assert costs.values == expected == whole(costs.point)


@settings(max_examples=15)
@given(POINTS)
def test_terms_add_up_at_fixed_widths(point: Point) -> None:
    """Of a largest value, those of each layer."""
    table = CostTable(SPACE, NETWORK, Scheme(), COUNTED)
    lowest = tuple(
        c if d.field == "width" else 0 for c, d in zip(point, SPACE.dimensions, strict=True)
    )
    for number in range(len(COUNTED)):
        contributions = table.contributions(number, lowest)
        for term in table.terms(number, lowest):
            contributions[term.layer] += term.values[tuple(point[i] for i in term.dimensions)]
        assert contributions == pytest.approx(table.contributions(number, point), rel=1e-12)


def test_a_layer_is_counted_once_for_all_points_with_the_same_choices() -> None:
    calls: list[str] = []

    @layer_cost("counted", unit="calls", fields=("weight_bits",))
    def counted(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> float:
        calls.append(layer.name)
        return choice.weight_bits

    try:
        costs = PointCosts(CostTable(SPACE, NETWORK, Scheme(), (counted,)), SPACE.smallest)
        assert sorted(calls) == sorted(NETWORK.names)
        bits = [i for i, d in enumerate(SPACE.dimensions) if d.field == "weight_bits"]
        for index in bits * 3:
            costs.after(index, 2)
        assert len(calls) == len(NETWORK.names) + len(bits)
    finally:
        del COSTS["counted"]


@settings(max_examples=15)
@given(POINTS)
def test_a_layer_alone_is_resized_as_in_the_network(point: Point) -> None:
    plan = SPACE.plan(point)
    widths = {name: choice.width for name, choice in plan.choices.items()}
    layers = [NETWORK.layer_at(layer, widths) for layer in NETWORK.layers]
    assert layers == [*NETWORK.resized(plan).layers]


def test_the_network_is_not_resized_where_nothing_outside_of_layers_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resized: list[Any] = []
    of = Network.resized
    monkeypatch.setattr(Network, "resized", lambda n, plan: resized.append(plan) or of(n, plan))
    table = CostTable(SPACE, NETWORK, Scheme(), (cost_named("size"),))
    random = np.random.default_rng(0)
    for _ in range(20):
        table.values(tuple(int(random.integers(size)) for size in SIZES))
    assert len(resized) == 1
