"""Which code a configuration would run, and whose configurations are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autoquant.errors import UserError
from autoquant.study.trust import foreign_paths, is_known, remember, require_trust
from autoquant.task import TASKS, task
from autoquant.yaml_text import read_yaml

SUPERVISED = "autoquant.tasks.supervised.SupervisedTask"
STDLIB = "autoquant.tasks.language.stdlib"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOQUANT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def foreign(task: Any, **settings: Any) -> list[str]:
    return [*foreign_paths({"task": task, **settings})]


OWN = {
    "stdlib": {"_target_": STDLIB, "tokens": 400, "root": None, "cell": "lstm"},
    "digits": {"_target_": "autoquant.tasks.digits.digits", "model": "gru", "score": "accuracy"},
    "classes": {
        "_target_": SUPERVISED,
        "model": {"_target_": "autoquant.tasks.digits.RowReader", "_partial_": True},
        "loss": "torch.nn.functional.cross_entropy",
        "score": "perplexity",
    },
    "no target": {"name": "toy"},
    "none": None,
}


@pytest.mark.parametrize("task", OWN.values(), ids=OWN)
def test_ready_tasks_need_no_trust(task: Any) -> None:
    assert foreign(task, kernel="auto", quantizer={"scale": "learned"}) == []


def of(target: Any) -> dict[str, Any]:
    return {"_target_": target, "path": "x"}


FOREIGN = {
    "target": (of("os.system"), "os.system"),
    "prefix": (of("autoquant_evil.task"), "autoquant_evil.task"),
    "through a module": (of("autoquant.tasks.language.torch.load"), "torch.load"),
    "through a file": (of("autoquant.files.os.system"), "os.system"),
    "resolves paths": (of("autoquant.plugins.resolve_path"), "resolve_path"),
    "writes files": (of("autoquant.files.write_text"), "write_text"),
    "runs a command": (of("autoquant.cli.main.main"), "main"),
    "imported there": (of("autoquant.tasks.supervised.Any"), "Any"),
    "imported class": (of("autoquant.tasks.digits.SupervisedTask"), "SupervisedTask"),
    "private": (of("autoquant.tasks.language._Batch"), "_Batch"),
    "function": (of("autoquant.tasks.corpus.read_stdlib"), "read_stdlib"),
    "not a text": (of(["os.system"]), "os.system"),
    "in a list": ({"_target_": STDLIB, "x": [{"y": of("os.system")}]}, "os.system"),
    "loss": ({"_target_": SUPERVISED, "loss": "os.system"}, "os.system"),
    "loss of the digits": ({"_target_": "autoquant.tasks.digits.digits", "loss": "os:x"}, "os:x"),
    "a module as a loss": ({"_target_": SUPERVISED, "loss": "evil"}, "evil"),
    "a module as a model": ({"_target_": SUPERVISED, "model": "evil"}, "evil"),
    "score": ({"_target_": SUPERVISED, "score": "evil.score"}, "evil.score"),
    "a place": ({"_target_": SUPERVISED, "_args_": ["evil"]}, "evil"),
    "environment": ({"_target_": STDLIB, "root": "${oc.env:HOME}"}, "oc.env"),
    "interpolated": (of("autoquant.${x}"), "${x}"),
}


@pytest.mark.parametrize(("task", "listed"), FOREIGN.values(), ids=FOREIGN)
def test_all_other_code_is_listed(task: Any, listed: str) -> None:
    assert any(listed in each for each in foreign(task))


@pytest.mark.parametrize(
    "settings",
    [{"kernel": "evil.engine"}, {"quantizer": {"scale": "evil.Rule"}}],
    ids=["kernel", "scale"],
)
def test_engines_and_rules_are_listed(settings: Any) -> None:
    (listed,) = foreign({"name": "toy"}, **settings)
    assert "evil" in listed


def test_a_registered_task_needs_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.task.TASKS", TASKS)

    @task("walks in a test")
    class Walks: ...

    try:
        assert foreign(of(f"{__name__}.{Walks.__qualname__}")) == []
    finally:
        del TASKS["walks in a test"]


CONFIG = {
    "task": {"_target_": "mine.Task", "sizes": (1, 2), "lr": 1e-3},
    "budget": "0.1x",
    "kernel": "auto",
    "quantizer": {"scale": "learned", "grid": "auto"},
}


def test_a_known_configuration_needs_no_trust(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with pytest.raises(UserError) as raised:
        require_trust(file, CONFIG, trusted=False)
    assert str(raised.value).startswith("trust=true must be given for a study")
    assert str(raised.value).endswith("would import and call 'mine.Task'")
    remember(CONFIG)
    as_read = read_yaml(yaml.safe_dump(CONFIG, sort_keys=False))
    require_trust(file, as_read, trusted=False)
    require_trust(file, {**as_read, "budget": "0.2x"}, trusted=False)  # which runs nothing


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"_target_": "mine.Task", "sizes": (1, 3), "lr": 1e-3}},
        {"task": {"_target_": "mine.Other", "sizes": (1, 2), "lr": 1e-3}},
        {"kernel": "evil.engine"},
        {"quantizer": {"scale": "evil.Rule", "grid": "auto"}},
    ],
    ids=["argument", "target", "kernel", "scale"],
)
def test_what_runs_something_else_is_not_known(change: Any, tmp_path: Path) -> None:
    remember(CONFIG)
    assert is_known(CONFIG)
    assert not is_known({**CONFIG, **change})
    with pytest.raises(UserError, match="trust=true"):
        require_trust(tmp_path, {**CONFIG, **change}, trusted=False)


def test_what_is_trusted_once_is_known(tmp_path: Path) -> None:
    require_trust(tmp_path, CONFIG, trusted=True)
    require_trust(tmp_path, CONFIG, trusted=False)


def test_many_paths_are_listed_in_part(tmp_path: Path) -> None:
    config = {"task": {"x": [of(f"evil{i}.call") for i in range(300)]}}
    with pytest.raises(UserError, match=r"'evil0.call', .*, \.\.\. 300 in all") as raised:
        require_trust(tmp_path, config, trusted=False)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("variable", ["AUTOQUANT_STATE", "XDG_STATE_HOME", "HOME"])
def test_the_state_folder(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOQUANT_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    remember(CONFIG)
    assert len([path for path in (tmp_path / "place").rglob("*") if path.is_file()]) == 1
    assert is_known(CONFIG)


def test_a_state_folder_that_cannot_be_written(state: Path) -> None:
    state.write_text("in the way")
    remember(CONFIG)
    assert not is_known(CONFIG)
