"""Limits that no plan is within are refused, with the smallest value that one reaches."""

from __future__ import annotations

import re

import pytest

from autoquant.costs import cost_named
from autoquant.costs.limit import Limit, LimitSet, limits_of
from autoquant.errors import UserError
from autoquant.settings import Limits, Scheme, Search, Space
from autoquant.space.reachable import check_reachable
from autoquant.space.search_space import build_space
from tests import toys
from tests.toys import prepared

NETWORK = prepared(toys.language_model(layers=1))[1]
SPACE = build_space(NETWORK, (), Space(weight_bits=(2, 4), activation_bits=(8, 16)))


def limits(**values: float) -> LimitSet:
    return LimitSet(
        tuple(Limit(cost_named(n), v, NETWORK, Scheme(), 2 * v, f"{v}!") for n, v in values.items())
    )


@pytest.mark.parametrize("name", ["size", "bit_ops", "macs", "activation_memory", "peak_memory"])
def test_the_smallest_value_is_named_and_reached(name: str) -> None:
    with pytest.raises(UserError, match="that any plan of the space reaches") as caught:
        check_reachable(SPACE, limits(**{name: 1}), {name: " (so it is)"})
    text = str(caught.value)
    setting = "budget" if name == "size" else rf"limits\.{name}"
    found = re.match(rf"{setting} must be at least (\d+) .* \(so it is\), got 1! = 1 ", text)
    assert found, text
    assert ("widths only grow" in text) == (name == "macs")
    smallest = int(found.group(1))
    check_reachable(SPACE, limits(**{name: smallest}), {})
    with pytest.raises(UserError):
        check_reachable(SPACE, limits(**{name: smallest - 1}), {})


def test_the_smallest_size_has_activations_without_scales() -> None:
    """16 bits store none; the smallest point has 8 bits."""
    smallest = cost_named("size").of(NETWORK, SPACE.plan(SPACE.smallest), Scheme())
    check_reachable(SPACE, limits(size=smallest - 8), {})


def test_limits_that_no_one_plan_meets_are_refused_together() -> None:
    smallest = cost_named("size").of(NETWORK, SPACE.plan(SPACE.smallest), Scheme())
    least = cost_named("activation_memory").of(NETWORK, SPACE.plan(SPACE.smallest), Scheme())
    message = "limits must be met by one plan of the space, got budget=.* and limits.activation"
    with pytest.raises(UserError, match=message):
        check_reachable(SPACE, limits(size=smallest - 8, activation_memory=least), {})


def test_limits_of_a_search() -> None:
    settings = Search(budget="1kB", limits=Limits(bit_ops="0.5x", peak_memory="2kB"))
    one, peak, ops = limits_of(settings, NETWORK, float_bytes=4000, parameters=1000)
    assert (one.cost.name, one.value, one.float_cost) == ("size", 1000, 4000)
    macs = cost_named("macs").of(NETWORK, SPACE.plan(SPACE.smallest), Scheme())
    assert (ops.cost.name, ops.value, ops.float_cost) == ("bit_ops", macs * 512, macs * 1024)
    assert (peak.name, peak.value, peak.written) == ("limits.peak_memory", 2000, "2kB")
