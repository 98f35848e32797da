"""``model=...``: the models of a task, and tasks without models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_own_tasks import MODULE
from tests.cli.typed import TASK, TINY, refused, run

MINE = "# @package _global_\ntask: {_target_: mine_with_models.Mine, hidden: 24}\n"
WITH_MODELS = """\
# @package _global_
defaults:
  - _self_
  - optional /model: small
  - /model/own: ${model}
task: {_target_: mine_with_models.Mine, hidden: 24}
"""
EXTENDED = """\
# @package _global_
defaults:
  - /task/stdlib
  - _self_
task: {hidden: 24}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with tasks of a user: without models, with own ones, with those of stdlib."""
    (tmp_path / "mine_with_models.py").write_text(MODULE)
    for folder in ("task", "model/own"):
        (tmp_path / "conf" / folder).mkdir(parents=True)
    for name, text in {"mine": MINE, "own": WITH_MODELS, "extended": EXTENDED}.items():
        (tmp_path / f"conf/task/{name}.yaml").write_text(text)
    for name, hidden in {"small": 8, "large": 64}.items():
        text = f"# @package _global_\ntask: {{hidden: {hidden}}}\n"
        (tmp_path / f"conf/model/own/{name}.yaml").write_text(text)
    return tmp_path


def composed(folder: Path, command: str, *arguments: str) -> dict[str, Any]:
    ran = run(folder, command, "--cfg", "job", "--resolve", *arguments)
    assert ran.code == 0, ran.err
    config: dict[str, Any] = yaml.safe_load(ran.out)
    return config


@pytest.mark.parametrize("model", ["gru", "lstm", "conv"])
def test_a_profile_of_the_digits(place, model):
    pytest.importorskip("sklearn")
    ran = run(place, "profile", "task=digits", f"model={model}")
    assert ran.code == 0, ran.err
    row = r"conv1 +conv2d +1 -> 16" if model == "conv" else rf"rnn\.l0 +{model} +8 -> 64"
    assert re.search(rf"^  {row} ", ran.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "task", "key", "default", "models"),
    [
        ("evaluate", "digits", "model", "gru", ["gru", "lstm", "conv"]),
        ("profile", "stdlib", "cell", "lstm", ["lstm", "gru"]),
        ("search", "ptb", "cell", "lstm", ["lstm", "gru"]),
        ("sweep", "stdlib", "cell", "lstm", ["lstm", "gru"]),
    ],
)
def test_a_model_is_a_setting_of_its_task(place, command, task, key, default, models):
    given = [f"task={task}", *(["artifact=x"] if command == "evaluate" else [])]
    given += ["task.data_dir=x"] if task == "ptb" else []
    plain = composed(place, command, *given)
    assert plain["task"][key] == default
    for model in models:
        config = composed(place, command, *given, f"model={model}")
        assert config["task"] == plain["task"] | {key: model}
        assert {**config, "task": None, "study": None} == {**plain, "task": None, "study": None}
        own = composed(place, command, *given, f"model={model}", f"task.{key}={default}")
        assert own["task"] == plain["task"]


@pytest.mark.parametrize(
    ("arguments", "study"),
    [
        (["search", "task=digits"], "runs/digits-0.15x"),
        (["search", "task=digits", "model=gru"], "runs/digits-0.15x"),
        (["search", "task=digits", "model=conv"], "runs/digits-conv-0.15x"),
        (["sweep", "task=digits", "model=lstm"], "runs/digits-lstm-sweep"),
        (["search", "task=ptb", "model=lstm", "task.data_dir=x"], "runs/ptb-0.15x"),
        (["search", "task=ptb", "model=gru", "task.data_dir=x"], "runs/ptb-gru-0.15x"),
    ],
)
def test_a_default_folder_names_a_model_that_is_not_the_default(place, arguments, study):
    assert composed(place, *arguments)["study"] == study


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["task=digits", "model=bit_rnn_lstm"], "conv, gru, lstm"),
        (["task=stdlib", "model=conv"], "bit_rnn_gru, bit_rnn_lstm, gru, lstm"),
        (["model=big"], "bit_rnn_gru, bit_rnn_lstm, gru, lstm"),
        (["task=ptb", "model="], "bit_rnn_gru, bit_rnn_lstm, gru, lstm"),
    ],
)
def test_a_model_of_another_task_is_refused(place, arguments, options):
    model = arguments[-1].removeprefix("model=")
    line = refused(run(place, "profile", *arguments))
    assert line == f"model must be one of {options}, got {model!r}"


def test_a_task_without_models(own):
    mine = ["--config-dir", "conf", "task=mine"]
    assert composed(own, "search", *mine)["study"] == "runs/mine-0.15x"
    assert run(own, "profile", *mine).code == 0
    for command in ("profile", "search", "sweep"):
        line = refused(run(own, command, *mine, "model=gru"))
        assert line == "model must be left out: the task has no models"


def test_a_task_with_models_of_its_own(own):
    mine = ["--config-dir", "conf", "task=own"]
    assert composed(own, "search", *mine)["task"]["hidden"] == 8
    assert composed(own, "search", *mine)["study"] == "runs/own-0.15x"
    large = composed(own, "search", *mine, "model=large")
    assert (large["task"]["hidden"], large["study"]) == (64, "runs/own-large-0.15x")
    line = refused(run(own, "profile", *mine, "model=lstm"))
    assert line == "model must be one of large, small, got 'lstm'"


@pytest.mark.parametrize("default", ["small", "large"])
def test_the_default_model_is_that_of_the_folder_of_the_task(own, default):
    file = own / "conf/task/own.yaml"
    file.write_text(file.read_text().replace("/model: small", f"/model: {default}"))
    config = composed(own, "search", "--config-dir", "conf", "task=own", "model=large")
    assert config["study"] == ("runs/own-0.15x" if default == "large" else "runs/own-large-0.15x")


def test_a_task_that_extends_another_has_its_models(own):
    mine = ["--config-dir", "conf", "task=extended"]
    assert composed(own, "search", *mine)["study"] == "runs/extended-0.075x"
    gru = composed(own, "search", *mine, "model=bit_rnn_gru")
    assert (gru["task"]["hidden"], gru["task"]["cell"]) == (24, "gru")
    assert gru["quantizer"]["scale"] == "mean"
    assert gru["study"] == "runs/extended-bit_rnn_gru-0.6x"


@pytest.mark.parametrize("arguments", [["apply", "study=done"], ["report", "study=done"]])
def test_a_command_without_a_task_has_no_model(place, arguments):
    line = refused(run(place, *arguments, "model=gru"))
    assert line == "a setting must be one that --help lists, got 'model'"


def test_evaluate_takes_a_model_only_with_a_task(place):
    line = refused(run(place, "evaluate", "artifact=x", "model=gru"))
    assert line == "model must be left out: the task has no models"


def test_several_models_are_several_studies(place, monkeypatch, tmp_path):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    task = [each.replace("../source", str(place.parent / "source")) for each in TINY]
    ran = run(tmp_path, "search", "-m", *task, "model=lstm,gru", "references=[]")
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "stdlib-0.5x",
        "stdlib-gru-0.5x",
    ]


def test_a_profile_prints_the_model(place):
    ran = run(place, "profile", *TASK, "model=gru")
    assert re.search(r"^  rnn\.l0 +gru +16 -> 16 ", ran.out, re.MULTILINE)
