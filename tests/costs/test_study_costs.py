"""What counts a study's bytes, by its configuration alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from autoquant.artifact import manifest
from autoquant.costs.size import size
from autoquant.costs.study_costs import float_bytes, layer_bytes, scheme_of, size_cost_of
from autoquant.costs.target import TARGETS
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from tests.figures.samples import BASELINE
from tests.toys import described, example_of, plan_of, tagger


@pytest.mark.parametrize(
    ("config", "cost"),
    [({}, size), ({"target": "c"}, TARGETS["c"].size), ({"target": "a runtime of others"}, None)],
    ids=["packed file", "target", "unknown target"],
)
def test_the_cost_that_the_budget_limits(config, cost):
    assert size_cost_of(config) is cost


def test_the_scheme_of_a_study_without_the_code_that_it_names():
    named = Scheme(scale_bits=8).to_dict() | {"scale": "not_imported.rule"}
    assert scheme_of({"quantizer": named}) == Scheme(scale_bits=8)
    assert "not_imported" not in sys.modules
    assert scheme_of({}) == Scheme()


@pytest.mark.parametrize("quantizer", [{"grid": "of others"}, {"unknown": 1}, 3])
def test_a_scheme_that_is_not_known(quantizer):
    assert scheme_of({"quantizer": quantizer}) is None


@pytest.mark.parametrize("each", [4, 2], ids=["float32", "half precision"])
def test_bytes_of_the_float_model(each):
    model = tagger()
    network = described(model, *example_of(model))
    record = replace(BASELINE, size_bytes=each * network.parameters, parameters=network.parameters)
    expected = {layer.name: each * layer.count for layer in network.layers}
    assert float_bytes(network, record) == expected


def test_bytes_of_a_plan_are_those_of_its_tensors():
    model = tagger()
    network = described(model, *example_of(model))
    plan = plan_of(network, LayerChoice(3, 8))
    entries = manifest.entries(network.resized(plan), plan, Scheme())
    counted = layer_bytes(network, plan, size, Scheme())
    assert counted == {
        name: sum(entry.bytes for entry in entries if entry.name.startswith(f"{name}."))
        for name in network.names
    }
