"""What Python users may give for an argument: accepted, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoquant.artifact.packed_file import load
from autoquant.commands.apply import apply
from autoquant.commands.evaluate import evaluate
from autoquant.commands.report import report
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.settings import Search, Sweep, Training
from autoquant.study.folder import Study
from tests.toys import language_task

SHORT = Training(steps=np.int64(2), lr=np.float32(1e-3), scores=0)
SETTINGS = Search(
    budget="0.8x", trials=np.int64(1), references=[4], baseline=SHORT, qat=SHORT, final=SHORT
)


def toy() -> Any:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    settings = replace(SETTINGS, device=torch.device("cpu"), budget="9kB")
    path = tmp_path_factory.mktemp("arguments") / "study"
    return search(toy(), settings, study=path, progress=False).study


def test_numbers_of_numpy_and_a_device_of_torch_are_plain_settings(study: Study) -> None:
    config = study.config()
    assert (config["trials"], config["device"], config["qat"]["steps"]) == (1, "cpu", 2)
    assert config["qat"]["lr"] == pytest.approx(1e-3)


def test_a_trial_may_be_a_number_and_a_study_an_object(study: Study) -> None:
    (outcome,) = (o for o in study.outcomes() if o.role == "search")
    for trial in (0, np.int64(0), "0"):
        assert apply(study, toy(), trial=trial, progress=False).plan == outcome.plan
    assert search(toy(), replace(SETTINGS, budget="9kB"), study=study, progress=False).outcomes
    assert report(str(study.path)) == report(study)


def test_paths_are_texts_in_a_configuration(study: Study, tmp_path: Path) -> None:
    settings = replace(SETTINGS, budget="9kB", pretrained=study.path)
    made = search(toy(), settings, study=tmp_path / "study", progress=False).study
    assert made.config()["pretrained"] == str(study.path)
    assert Sweep(plans=(study.plan_file,)).plans == (str(study.plan_file),)


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "trials=2.5": (lambda s: Search(trials=2.5), "trials must be a whole number, got 2.5"),
    "references=8": (lambda s: Search(references=8), "references must be a list, got 8"),
    "references=8 as a text": (lambda s: Search(references="8"), "references must be a list"),
    "references=None": (lambda s: Search(references=None), "references must be a list, got None"),
    "pretrained=5": (
        lambda s: Search(pretrained=5),
        "pretrained must be a path, a module or",
    ),
    "plans=(5,)": (lambda s: Sweep(plans=(5,)), "sweep.plans must be a path, got 5"),
    "plan=file": (lambda s: apply(s, toy(), plan="p.yaml"), "plan must be an autoquant.Plan"),
    "changes=5": (lambda s: apply(s, toy(), changes=5), "changes must be a mapping, got 5"),
    "no task": (lambda s: apply(s, None), "the task must follow autoquant.Task, got a NoneType"),
    "apply study=5": (lambda s: apply(5, toy()), "study must be the path of a folder, got 5"),
    "search study=5": (lambda s: search(toy(), study=5), "study must be the path of a folder"),
    "sweep study=5": (lambda s: sweep(toy(), study=5), "study must be the path of a folder"),
    "report study=5": (lambda s: report(5), "study must be the path of a folder, got 5"),
    "Plan.read(5)": (lambda s: Plan.read(5), "plan must be the path of a YAML file, got 5"),
}


SETTINGS_ARE = "settings must be an autoquant.Search, got"
FOLDER = "study must be the path of a folder, got None; write study='runs/mine'"
REFUSED |= {
    "settings={...}": (
        lambda s: search(toy(), {"budget": "0.2x", "trials": 3}, study=s),
        f"{SETTINGS_ARE} {{'budget': '0.2x', 'trials': 3}}; "
        "write aq.Search(budget='0.2x', trials=3)",
    ),
    "settings={}": (
        lambda s: sweep(toy(), {}, study=s),
        f"{SETTINGS_ARE} {{}}; write aq.Search(...)",
    ),
    "sweep={...}": (
        lambda s: sweep(toy(), sweep={"seeds": [1]}, study=s),
        "sweep must be an autoquant.Sweep, got {'seeds': [1]}; write sweep=aq.Sweep(seeds=[1])",
    ),
    "search study=None": (lambda s: search(toy(), study=None), FOLDER),
    "sweep study=None": (lambda s: sweep(toy(), study=None), FOLDER),
    "apply swapped": (
        lambda s: apply(toy(), "runs/x"),
        "apply must get the path first, then the task, got them in the other order; "
        "write aq.apply('runs/x', task)",
    ),
    "evaluate swapped": (
        lambda s: evaluate(toy(), Path("model.safetensors")),
        "evaluate must get the path first, then the task, got them in the other order; "
        "write aq.evaluate('model.safetensors', task)",
    ),
}


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_texts_or_objects(kind: Any, study: Study, tmp_path: Path) -> None:
    """Of a study, a plan, a packed file: everywhere."""
    path = kind(study.path)
    assert Study(path) == Study.open(path) == study
    assert kind is str or report(path)  # of a text: above
    assert Plan.read(kind(study.plan_file)) == study.plan()
    applied = apply(path, toy(), progress=False)
    artifact = kind(applied.artifact)
    assert evaluate(artifact, toy(), device="cpu") == applied.test
    assert load(artifact, toy().build_model()).training is False
    settings = replace(SETTINGS, budget="9kB", pretrained=path)
    made = search(toy(), settings, study=kind(tmp_path / "search"), progress=False)
    grid = Sweep(weight_bits=(4,), plans=(kind(study.plan_file),))
    swept = sweep(toy(), settings, sweep=grid, study=kind(tmp_path / "sweep"), progress=False)
    assert (made.study.path, swept.study.path) == (tmp_path / "search", tmp_path / "sweep")


@pytest.mark.parametrize(("call", "line"), REFUSED.values(), ids=REFUSED)
def test_other_things_are_refused_in_one_line(call: Any, line: str, study: Study) -> None:
    with pytest.raises(UserError) as raised:
        call(study)
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


def test_an_origin_that_yaml_cannot_hold_leaves_no_folder(tmp_path: Path) -> None:
    settings = replace(SETTINGS, budget="9kB")
    with pytest.raises(UserError, match="settings must be plain values, got "):
        search(toy(), settings, study=tmp_path / "study", origin={"x": object()}, progress=False)
    assert not (tmp_path / "study").exists()
