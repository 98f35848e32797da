"""Every committed study loads, whichever version of autoquant wrote it, and is written the same."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import pytest

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.applying.applied import Applied
from autoquant.figures.curves import size_curves, width_curves
from autoquant.figures.heatmap import heatmap_data
from autoquant.figures.history import history_data
from autoquant.figures.pareto_points import pareto_data
from autoquant.figures.plan_table import plan_data
from autoquant.figures.profile_bars import profile_data
from autoquant.figures.sensitivity import sensitivity_data
from autoquant.figures.study_data import read_study_data
from autoquant.figures.sweep_data import read_sweep_data
from autoquant.plan import BITS_FIELDS
from autoquant.settings import INIT_FROM, Search, Sweep, from_dict
from autoquant.study import outcome, records, sweep_table
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable

ROOT = Path(__file__).parents[2] / "studies"
STUDIES = [Study.open(path.parent) for path in sorted(ROOT.rglob("config.yaml"))]
SEARCHES = [study for study in STUDIES if study.outcomes_file.is_file()]
SWEEPS = [study for study in STUDIES if study.runs_file.is_file()]


def each(studies: list[Study]) -> pytest.MarkDecorator:
    names = [str(study.path.relative_to(ROOT)) for study in studies]
    return pytest.mark.parametrize("study", studies, ids=names)


def test_the_studies_are_found() -> None:
    assert len(SEARCHES) >= 9
    assert len(SWEEPS) >= 16
    assert len(SEARCHES) + len(SWEEPS) == len(STUDIES)
    assert any("start" in study.config().get("sweep", {}) for study in SWEEPS)


@each(STUDIES)
def test_settings(study: Study) -> None:
    config = study.config()
    values = {name: value for name, value in config.items() if name not in ("task", "sweep")}
    settings = from_dict(Search, values)
    assert settings.seed == config["seed"]
    assert settings.quantizer.scale_bits == config["quantizer"]["scale_bits"]
    assert isinstance(config["task"]["_target_"], str)
    assert ("sweep" in config) == (study in SWEEPS)
    if "sweep" in config:
        sweep = from_dict(Sweep, config["sweep"], "sweep.")
        assert sweep.init_from == config["sweep"].get("start", config["sweep"].get("init_from"))
        assert list(sweep.seeds) == config["sweep"]["seeds"]


@each(STUDIES)
def test_the_record_of_the_float_model(study: Study) -> None:
    record, content = study.baseline(), json.loads(study.baseline_record.read_text("utf-8"))
    written = json.loads(json.dumps(records.to_json(record)))
    assert written == {"test": None} | content
    if "test" in content:
        text = json.dumps(records.to_json(record), indent=2) + "\n"
        assert text == study.baseline_record.read_text("utf-8")


@each(STUDIES)
def test_profile_and_sensitivity(study: Study) -> None:
    bars = profile_data(study.profile_file)
    assert bars is not None
    layers = {layer["name"] for layer in json.loads(study.profile_file.read_text())["layers"]}
    if study.sensitivity_file.is_file():
        sensitivity = Sensitivity.read(study.sensitivity_file)
        for name in sensitivity.loss_increases:
            layer, _, field = name.rpartition(".")
            assert layer in layers
            assert field in BITS_FIELDS


def without_split(text: str) -> list[dict[str, str]]:
    """The rows of ``outcomes.csv`` without the split, which earlier versions did not write."""
    rows = csv.DictReader(io.StringIO(text))
    return [{key: value for key, value in row.items() if key != "split"} for row in rows]


@each(SEARCHES)
def test_the_outcomes_of_a_search(study: Study) -> None:
    outcomes, text = study.outcomes(), study.outcomes_file.read_text("utf-8")
    written = outcome.to_csv(outcomes, study.baseline().size_bytes)
    assert without_split(written) == without_split(text)
    assert any(o.state == "complete" and o.score is not None for o in outcomes)
    data = read_study_data(study)
    assert data.chosen is not None
    assert data.chosen.plan == study.plan()
    assert pareto_data(data)
    assert history_data(data)
    assert plan_data(data.chosen)
    measured = sensitivity_data(study.sensitivity_file, data.chosen)
    assert (measured is None) != study.sensitivity_file.is_file()


@each(SWEEPS)
def test_the_table_of_a_sweep(study: Study) -> None:
    table = SweepTable.of(study)
    assert table.path.is_file()
    results, text = table.results(), table.path.read_text("utf-8")
    head = text.partition("\n")[0]
    written = sweep_table.to_csv(results)
    renamed = head.replace("start", "init_from").replace("paper_share", "paper_size_ratio")
    assert written == text.replace(head, renamed, 1)
    assert {result.run.init_from for result in results} <= set(INIT_FROM)
    assert all(
        result.run.group + f"-seed{result.run.seed}" == result.run.name for result in results
    )
    data = read_sweep_data(study)
    assert len(data.plans) == len({result.run.group for result in results})
    assert any((heatmap_data(data), size_curves(data), width_curves(data)))


def test_the_result_of_an_earlier_apply() -> None:
    """Its costs have a key of before: neuron_share."""
    text = (ROOT / "stdlib-0.15x/applied-result.json").read_text("utf-8")
    content = json.loads(text)
    training = content.pop("training")
    applied = records.from_json(Applied, {**content, "artifact": "model.safetensors"})
    assert applied.costs.paper_size_ratio == content["costs"]["neuron_share"]
    assert applied.plan in [o.plan for o in Study.open(ROOT / "stdlib-0.15x").outcomes()]
    written = records.to_json(applied)
    del written["artifact"]
    assert written.pop("breakdown") is None
    written |= {"plan": written.pop("plan"), "training": training}
    assert json.dumps(written, indent=2) + "\n" == text.replace("neuron_share", "paper_size_ratio")
    assert [field.name for field in fields(applied.costs)] == [*written["costs"]]
