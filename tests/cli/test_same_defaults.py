"""The command line and Python run the same search of a ready task."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import autoquant as aq
from autoquant.settings import Search, from_dict, settings_for
from autoquant.tasks import digits, language
from tests.cli.typed import SIZES, run

READY: dict[str, tuple[Any, dict[str, Any]]] = {
    "stdlib": (language.stdlib, {}),
    "ptb": (language.treebank, {"data_dir": "some folder"}),
    "digits": (digits.digits, {}),
}


def record(name: str) -> Any:
    """A stand-in that keeps its arguments; models that it can build are kept as their texts."""

    def call(*arguments: Any, **options: Any) -> Any:
        kept = [str(value()) if callable(value) else value for value in arguments]
        return SimpleNamespace(name=name, kept=(kept, options), preferred=options.get("preferred"))

    return call


@pytest.mark.parametrize("name", READY)
def test_settings_and_arguments_are_the_same(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("StdlibText", "TreebankText", "LanguageTask"):
        monkeypatch.setattr(language, function, record(function))
    monkeypatch.setattr(digits, "_read_splits", lambda **options: ["train", "valid", "test"])
    monkeypatch.setattr(digits, "SupervisedTask", record("SupervisedTask"))
    build, required = READY[name]
    typed = [f"task.{key}='{value}'" for key, value in required.items()]
    ran = run(place, "search", "--cfg", "job", f"task={name}", *typed)
    assert ran.code == 0, ran.err
    config = yaml.safe_load(ran.out)
    origin = {key: value for key, value in config.pop("task").items() if key != "_target_"}
    assert build(**required) == build(**origin)
    del config["study"]
    assert settings_for(build(**required)) == from_dict(Search, config)


def test_a_short_search_finds_the_same_plan(place: Path, searched: Any, tmp_path: Path) -> None:
    assert searched.code == 0, searched.err
    sizes = {name: int(value) for name, value in (size.split("=") for size in SIZES)}
    task = language.stdlib(root=str(place.parent / "source"), probe_tokens=100, **sizes)
    settings = aq.Search(
        "0.5x",
        trials=1,
        device="cpu",
        references=(4,),
        baseline=aq.Training(steps=4, scores=1),
        qat=aq.Training(steps=2, scores=0),
        final=aq.Training(steps=3, scores=0),
    )
    found = aq.search(task, settings, study=tmp_path / "study", progress=False)
    typed = aq.Study.open(place / "done")
    assert found.study.plan() == typed.plan()
    assert [replace(o, seconds=0) for o in found.study.outcomes()] == [
        replace(o, seconds=0) for o in typed.outcomes()
    ]
    configs = [{**study.config(), "task": None} for study in (found.study, typed)]
    assert configs[0] == configs[1]
    assert asdict(settings_for(task, settings))["final"] == configs[0]["final"]
    assert configs[0]["final"]["keep"] == "last"
