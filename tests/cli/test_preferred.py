"""Settings that a task prefers, known only once it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autoquant.study.folder import Study
from tests.cli.test_own_tasks import MODULE
from tests.cli.typed import BASELINE, RUN, SHORT, refused, run

PREFERS = (
    MODULE
    + """
from autoquant import Scheme, Search, Training, Widening

class Prefers(Mine):
    preferred = Search(
        budget="3x", seed=5, fill=False, qat=Training(lr=0.25, steps=3, scores=1),
        quantizer=Scheme.bit_rnn(), widening=Widening(max_share=0.75),
        rules={"2": {"width": 1.0}},
    )

class Wrong(Mine):
    preferred = {"seed": 3}
"""
)
FILES = {
    "plain": "task: {_target_: prefers_in_a_test.Prefers, hidden: 24}",
    "named": "task: {_target_: prefers_in_a_test.Prefers, hidden: 24}\n"
    "seed: 0\nfinal: {lr: '${qat.lr}'}\nqat: {epochs: 2}\nwidening: {max_growth: 2}",
    "long": "task: {_target_: prefers_in_a_test.Mine, hidden: 24}\nqat: {steps: 150}",
    "wrong": "task: {_target_: prefers_in_a_test.Wrong, hidden: 24}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefers")
    (folder / "prefers_in_a_test.py").write_text(PREFERS)
    (folder / "conf/task").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / f"conf/task/{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    return folder


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a search or a sweep would be called with, as plain values, and its folder."""
    called: list[dict[str, Any]] = []

    def call(task: Any, settings: Any, *, study: str, **options: Any) -> None:
        called.append({"study": study, "settings": settings, **options})
        raise KeyboardInterrupt

    for command in ("search", "sweep"):
        monkeypatch.setattr(f"autoquant.commands.{command}.{command}", call)

    def settings_of(command: str, *arguments: str) -> dict[str, Any]:
        called.clear()
        ran = run(folder, command, "--config-dir", "conf", *arguments)
        assert ran.code == 130, ran.err
        return called[0]

    return settings_of


def test_they_fill_what_was_not_given(settings: Any) -> None:
    came = settings("search", "task=plain")
    search = came["settings"]
    assert (search.budget, search.seed, search.fill) == ("3x", 5, False)
    assert came["study"] == "runs/plain-3x"
    assert (search.qat.lr, search.qat.steps, search.qat.scores, search.qat.warmup) == (
        *(0.25, 3, 1, 0.02),
    )
    assert (search.widening.max_share, search.widening.max_growth) == (0.75, 0.1)
    assert (search.quantizer.scale, search.quantizer.granularity) == ("mean", "tensor")
    assert search.rules == {"2": {"width": (1.0,)}}
    assert search.trials == 16


def test_what_was_typed_counts_though_it_is_the_default(settings: Any) -> None:
    typed = ["seed=0", "fill=true", "qat.steps=100", "budget=0.15x", "widening.max_share=0.1"]
    came = settings("search", "task=plain", *typed, "quantizer.scale=mean")
    search = came["settings"]
    assert (search.seed, search.fill, search.qat.steps, search.qat.lr) == (0, True, 100, 0.25)
    assert (search.budget, search.widening.max_share) == ("0.15x", 0.1)
    assert came["study"] == "runs/plain-0.15x"
    assert search.quantizer.granularity == "tensor"


def test_what_the_file_says_counts_and_may_refer_to_what_is_preferred(settings: Any) -> None:
    search = settings("search", "task=named")["settings"]
    assert (search.seed, search.final.lr) == (0, 0.25)
    assert (search.qat.epochs, search.qat.steps) == (2, None)
    assert (search.widening.max_share, search.widening.max_growth) == (0.75, 2)


def test_a_whole_quantizer_and_other_rules_count(settings: Any) -> None:
    typed = ["quantizer=lsq", "rules.0.weight_bits=8"]
    search = settings("search", "task=plain", *typed)["settings"]
    assert (search.quantizer.scale, search.quantizer.granularity) == ("learned", "channel")
    assert search.rules == {"0": {"weight_bits": (8,)}}
    quantizer = settings("search", "task=plain", "quantizer=bit_rnn")["settings"].quantizer
    assert quantizer.scale == "mean"


def test_a_sweep(settings: Any) -> None:
    came = settings("sweep", "task=plain", "sweep.seeds=[${seed}]", "final.lr=${qat.lr}")
    assert (came["settings"].final.lr, came["sweep"].seeds) == (0.25, (5,))


def test_epochs_that_are_typed_replace_steps(settings: Any) -> None:
    for task in ("plain", "long"):
        qat = settings("search", f"task={task}", "qat.epochs=2")["settings"].qat
        assert (qat.epochs, qat.steps) == (2, None)
    qat = settings("search", "task=plain", "qat.epochs=2", "qat.steps=7")["settings"].qat
    assert qat.steps == 7


def test_several_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies: list[tuple[str, int]] = []

    def search(task: Any, settings: Any, *, study: str, origin: Any) -> Any:
        studies.append((study, settings.seed))
        raise ZeroDivisionError

    monkeypatch.setattr("autoquant.commands.search.search", search)
    ran = run(folder, "search", "-m", "--config-dir", "conf", "task=plain,named", "budget=1x,2x")
    assert ran.code == 1
    assert studies == [
        *(("runs/plain-1x", 5), ("runs/plain-2x", 5), ("runs/named-1x", 0), ("runs/named-2x", 0))
    ]


def test_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["--config-dir", "conf"]
    line = refused(run(folder, "profile", *own, "task=wrong"))
    assert line.startswith("the task's preferred must be an autoquant.Search or None, got {'seed'")
    line = refused(run(folder, "profile", *own, "task=plain", "quantizer.granularity=channel"))
    assert line == "quantizer.scale=mean needs quantizer.granularity=tensor, got 'channel'"
    monkeypatch.setattr("autoquant.cli.task_builder.build_task", None)
    line = refused(run(folder, "profile", *own, "task=plain", "trials=0"))
    assert line == "trials must be at least 1, got 0"


def test_the_configuration_shows_the_defaults(folder: Path) -> None:
    for option in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"], ["-cjob"]):
        ran = run(folder, "search", *option, "--config-dir", "conf", "task=plain")
        assert yaml.safe_load(ran.out)["qat"]["steps"] == 100
    typed = ["task=plain", "qat.epochs=2", "--config-dir", "conf", "--cfg", "job"]
    assert yaml.safe_load(run(folder, "search", *typed).out)["qat"]["steps"] is None


def test_a_study_has_the_values_in_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    own = ["--config-dir", "conf", "task=plain"]
    ran = run(folder, "search", *own, *RUN[1:], *BASELINE, *SHORT)
    assert ran.code == 0, ran.err
    config = Study(folder / "runs/plain-3x").config()
    assert (config["seed"], config["qat"]["steps"], config["qat"]["lr"]) == (5, 2, 0.25)
