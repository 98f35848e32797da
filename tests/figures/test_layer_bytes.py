"""Bytes of layers, held against the tensors that a packed file holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoquant.artifact import manifest
from autoquant.artifact.stored_space import StoredSpace
from autoquant.costs.target import TARGETS
from autoquant.figures.layer_bytes import LayerBytes, plan_bytes
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from tests.figures.samples import BASELINE

RECORDED = Path(__file__).parents[2] / "studies/stdlib-0.1x-width"
SCHEME = Scheme(scale_bits=8)


@pytest.fixture(scope="module")
def network():
    return StoredSpace.read(RECORDED / "network.json").network


@pytest.fixture
def chosen(network):
    plan = Plan.uniform(network.names, LayerChoice(4, 8)).with_choice("decoder", weight_bits=2)
    size = manifest.size_bytes(network, plan, SCHEME)
    return Outcome("0", "search", plan, size, "complete", 38.0)


def study_of(path, network, **config):
    study = Study.create(path, {"quantizer": SCHEME.to_dict(), **config})
    parameters = network.parameters
    study.write_baseline(replace(BASELINE, size_bytes=4 * parameters, parameters=parameters))
    study.network_file.write_text(StoredSpace(network, ()).to_json())
    return study


def test_bytes_are_those_of_the_tensors(tmp_path, network, chosen):
    found = plan_bytes(study_of(tmp_path / "study", network), chosen)
    entries = manifest.entries(network.resized(chosen.plan), chosen.plan, SCHEME)
    for layer in network.layers:
        held = [entry.bytes for entry in entries if entry.name.startswith(f"{layer.name}.")]
        assert found.layers[layer.name] == LayerBytes(4 * layer.count, sum(held))
    assert found.total == LayerBytes(4 * network.parameters, chosen.size_bytes)
    assert found.outside.after == chosen.size_bytes - sum(entry.bytes for entry in entries)


def test_a_target_counts_the_bytes_of_its_files(tmp_path, network, chosen):
    study = study_of(tmp_path / "study", network, target="c")
    assert plan_bytes(study, chosen) is None  # its size is that of a packed file
    size = int(TARGETS["c"].size.of(network, chosen.plan, SCHEME))
    found = plan_bytes(study, replace(chosen, size_bytes=size))
    assert found.total.after == size
    assert found.layers["decoder"].after > 0


@pytest.mark.parametrize(
    "config",
    [{"target": "unknown"}, {"quantizer": {"grid": "of a plugin"}}, {"quantizer": "none"}],
)
def test_what_this_version_does_not_know_is_not_counted(tmp_path, network, chosen, config):
    assert plan_bytes(study_of(tmp_path / "study", network, **config), chosen) is None


def test_another_size_than_was_recorded_is_not_shown(tmp_path, network, chosen):
    other = replace(chosen, size_bytes=chosen.size_bytes + 1)
    assert plan_bytes(study_of(tmp_path / "study", network), other) is None


def test_earlier_versions_have_no_network(tmp_path, chosen):
    assert plan_bytes(Study.create(tmp_path / "study", {}), chosen) is None


def test_a_rule_for_scales_is_not_imported(tmp_path, network, chosen):
    values = {**SCHEME.to_dict(), "scale": "no_such_module.rule"}
    study = study_of(tmp_path / "study", network, quantizer=values)
    assert plan_bytes(study, chosen).total.after == chosen.size_bytes


def test_a_recorded_study_has_the_bytes_of_a_plan_that_grew():
    study = Study.open(RECORDED)
    (chosen,) = [outcome for outcome in study.outcomes() if outcome.trial == "3"]
    found = plan_bytes(study, chosen)
    assert chosen.plan["rnn.l0"].width == 1.5
    assert sum(each.after for each in found.layers.values()) < found.total.after == 460_024
    assert found.layers["embedding"].before == 4 * 4000 * 128
