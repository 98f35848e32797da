"""Operations added from outside: units stop at one without a function, and go through with one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Network, Segment
from autoquant.graph.prepare import prepare
from autoquant.graph.tracing import operations
from autoquant.graph.tracing.operations import operation, registry
from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.units import varies
from autoquant.graph.tracing.values import Value
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.graph.tracing.lines import here

INPUTS = (torch.randn(2, 5, 4),)


@torch.library.custom_op("autoquant_tests::reverse_time", mutates_args=())
def reverse_time(x: Tensor) -> Tensor:  # [B, T, C]
    return x.flip(1)


class Model(nn.Module):
    """A custom operation between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(reverse_time(self.one(x)))  # here


class Buckets(Model):
    """An operation of ATen that autoquant has no function for."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.bucketize(self.one(x), torch.tensor([0.0, 0.5])).float())  # here


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Only for one test: what it registers."""
    before = dict(registry.OPERATIONS)
    yield
    registry.OPERATIONS.clear()
    registry.OPERATIONS.update(before)


def along_time(state: PropagationState, call: Call) -> Value:
    value = state.read(call.args[0])  # [B, T, C]
    if value.ids is not None and varies(value.ids, 1):
        return state.stop(call)
    return value.with_ids(value.ids)


def network_of(model: nn.Module) -> Network:
    torch.manual_seed(0)
    return describe(prepare(model).eval(), INPUTS)


CASES = {
    "mylib": (Model, "autoquant_tests::reverse_time", "autoquant_tests.reverse_time"),
    "ATen": (Buckets, "bucketize", "bucketize"),
}


@pytest.mark.parametrize(("model", "name", "shown"), CASES.values(), ids=CASES)
def test_an_operation_is_added_from_outside(model: type[nn.Module], name: str, shown: str) -> None:
    reason = f"is read by '{shown}' {here(model.forward)}, which is not followed"
    assert network_of(model()).why_fixed("one") == reason
    assert operation(name)(along_time) is along_time
    network = network_of(model())
    assert dict(network.frozen) == {"last": "feeds the model's output"}
    assert network.inputs["last"] == (Segment("one", 6),)


@pytest.mark.parametrize("model", [Model, Buckets])
def test_units_that_go_through_it_grow(model: type[nn.Module]) -> None:
    operation("autoquant_tests::reverse_time", "bucketize")(along_time)
    narrow = prepare(model()).eval()
    network = describe(narrow, INPUTS)
    plan = Plan({"one": LayerChoice(width=2.0), "last": LayerChoice()})
    wide, _ = widen(narrow, network, WideningRequest(plan, Scheme(), "split", 0))
    assert check_same_function(narrow, wide, INPUTS) < 1e-5


def test_a_function_stops_units_where_it_must() -> None:
    @operation("autoquant_tests::reverse_time")
    def stops(state: PropagationState, call: Call) -> Value:
        return state.stop(call)

    assert "which is not followed" in str(network_of(Model()).why_fixed("one"))


@pytest.mark.parametrize("error", [AttributeError, IndexError, TypeError, ValueError])
def test_a_function_that_does_not_know_the_arguments_stops_units(error: type[Exception]) -> None:
    @operation("autoquant_tests::reverse_time")
    def fails(state: PropagationState, call: Call) -> Value:
        raise error

    assert "which is not followed" in str(network_of(Model()).why_fixed("one"))


def test_units_that_do_not_fit_the_result_are_frozen() -> None:
    @operation("autoquant_tests::reverse_time")
    def misplaces(state: PropagationState, call: Call) -> Value:
        value = state.read(call.args[0])
        return value.with_ids(None if value.ids is None else value.ids[0])

    assert "which is not followed" in str(network_of(Model()).why_fixed("one"))


def test_a_later_function_takes_the_place_of_an_earlier_one() -> None:
    @operation("relu")
    def stops(state: PropagationState, call: Call) -> Value:
        return state.stop(call)

    model: Any = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    assert str(network_of(model).why_fixed("0")).startswith("is read by 'relu'")


def test_every_module_of_the_folder_registers_operations() -> None:
    homes = {function.__module__ for function in registry.OPERATIONS.values()}
    names = [module.name for module in iter_modules(operations.__path__, f"{operations.__name__}.")]
    for name in names:
        importlib.import_module(name)
    assert homes == {*names} - {f"{operations.__name__}.registry"}
