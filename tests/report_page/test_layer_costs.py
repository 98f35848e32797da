from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from autoquant.costs.onnxruntime import SIZE
from autoquant.costs.size import size
from autoquant.report_page.layer_costs import CostCounter
from autoquant.settings import Scheme
from autoquant.study.folder import Study
from tests.report_page.samples import ROOT, network_of, search_of, trials_of


def counter(study: Study) -> CostCounter:
    found = CostCounter.of(study)
    assert found is not None
    return found


def with_settings(path: Path, **settings: object) -> Study:
    study = search_of(path, network_of(4))
    study.config_file.write_text(yaml.safe_dump(study.config() | settings))
    return study


def test_the_bytes_of_a_target_are_those_of_its_file(tmp_path: Path) -> None:
    found = counter(with_settings(tmp_path / "study", target="onnxruntime"))
    plan = trials_of(found.network)[0].plan
    costs = found.of_plan(plan)
    assert costs.file == "file for onnxruntime"
    assert costs.total.after.size == SIZE.of(found.network, plan, Scheme())
    assert costs.total.after.size != size.of(found.network, plan, Scheme())
    layers = sum(layer.after.size for layer in costs.layers)
    assert layers + costs.outside.after.size == costs.total.after.size


def test_a_rule_for_scales_is_not_imported(tmp_path: Path) -> None:
    """A report reads folders of others: code that they name is not run."""
    quantizer = {"scale": "no_such_module.rule", "scale_bits": 32}
    found = counter(with_settings(tmp_path / "study", quantizer=quantizer))
    assert found.scheme == Scheme(scale_bits=32)
    plan = trials_of(found.network)[1].plan
    assert found.of_plan(plan).total.after.size == size.of(
        found.network, plan, Scheme(scale_bits=32)
    )


def test_a_study_without_a_network_counts_nothing(tmp_path: Path) -> None:
    study = search_of(tmp_path / "study", network_of(2))
    study.network_file.unlink()
    assert CostCounter.of(study) is None


def test_parameters_of_half_precision_have_two_bytes(tmp_path: Path) -> None:
    found = counter(search_of(tmp_path / "study", network_of(2)))
    half = replace(found.baseline, size_bytes=2 * found.network.parameters)
    costs = replace(found, baseline=half).of_plan(trials_of(found.network)[1].plan)
    assert [layer.before.size for layer in costs.layers] == [
        2 * layer.count for layer in found.network.layers
    ]
    assert costs.outside.before.size == 0


def test_widths_cost_macs() -> None:
    """An LSTM of 128 units on 128 inputs that grows by half, and a decoder of 4000 words."""
    found = counter(Study.open(ROOT / "stdlib-0.075x"))
    costs = found.of_plan(found.network.at_widths({"rnn.l0": 1.5}))
    after = {layer.name: layer.after.macs for layer in costs.layers}
    assert after == {"embedding": 0, "rnn.l0": 4 * 192 * (128 + 192), "decoder": 192 * 4000}
    before = [layer.before.macs for layer in costs.layers]
    assert before == [0, 4 * 128 * (128 + 128), 128 * 4000]
    assert costs.total.after.macs == sum(after.values())
