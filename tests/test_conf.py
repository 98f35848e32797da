"""Models as a user picks them on the command line, and their options one by one."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import autoquant
from autoquant.cli.main import main
from autoquant.study.folder import Study

SOURCE = Path(autoquant.__file__).parent / "kernels"
SIZES = ("tokens=3000", "vocabulary=60", "embedding=12", "hidden=10", "batch_size=8", "length=10")
TINY = [f"task.root={SOURCE}", "task.probe_tokens=100", *(f"task.{each}" for each in SIZES)]
MODELS = ("bit_rnn_lstm", "bit_rnn_gru")
EACH = pytest.mark.parametrize("model", MODELS)
PEEK = {  # an option turned back, what is printed then
    "task.cell=gru": ("task", "cell", "gru"),
    "task.candidate=tanh": ("task", "candidate", "tanh"),
    "task.rectified=false": ("task", "rectified", False),
    "task.initial=0": ("task", "initial", 0),
    "task.initializer=uniform": ("task", "initializer", "uniform"),
    "task.projection=64": ("task", "projection", 64),
    "task.dropout=0.2": ("task", "dropout", 0.2),
    "task.length=35": ("task", "length", 35),
    "baseline.schedule=cosine": ("baseline", "schedule", "cosine"),
    "baseline.clip_norm=1": ("baseline", "clip_norm", 1.0),
    "quantizer=lsq": ("quantizer", "reparametrization", "none"),
    "quantizer.joint_recurrent=false": ("quantizer", "joint_recurrent", False),
    "rules.embedding.weight_bits=[4,8]": ("rules", "embedding", {"weight_bits": [4, 8]}),
}


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A command in an empty folder; its exit code and what it printed, or said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def ran(*arguments: str) -> tuple[int, str]:
        code = 0
        try:
            main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        return code, captured.out if code == 0 else captured.err

    yield ran
    for name in [*logging.root.manager.loggerDict]:  # Hydra ends loggers that it does not know
        logging.getLogger(name).disabled = False


def composed(run: Any, *arguments: str) -> dict[str, Any]:
    code, text = run("search", "--cfg", "job", *arguments)
    assert code == 0, text
    config: dict[str, Any] = yaml.safe_load(text)
    return config


@pytest.mark.parametrize("task", ["stdlib", "ptb"])
@EACH
def test_a_model_of_bit_rnn(run: Any, model: str, task: str) -> None:
    config = composed(run, f"model={model}", f"task={task}")
    wanted = {"candidate": "sigmoid", "rectified": True, "initial": 0.5, "initializer": "fan_in"}
    wanted |= {"cell": model.removeprefix("bit_rnn_"), "dropout": 0.5, "length": 20}
    assert {name: config["task"][name] for name in wanted} == wanted
    training = {"lr": 1e-3, "schedule": "steps", "clip_norm": 0.5, "warmup": 0.0}
    assert {name: config["baseline"][name] for name in training} == training
    assert config["rules"] == {"embedding": {"weight_bits": 32}}
    quantizer = config["quantizer"]
    assert (quantizer["scale"], quantizer["reparametrization"]) == ("mean", "tanh")
    assert quantizer["activation_scale"] == "unit"


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, Any]]:
    """Configurations by model, composed once."""
    return {}


@pytest.mark.parametrize("option", PEEK)
@EACH
def test_each_option_can_be_turned_back_alone(
    run: Any, model: str, option: str, known: dict[str, dict[str, Any]]
) -> None:
    if model not in known:
        known[model] = composed(run, f"model={model}")
    plain, changed = dict(known[model]), composed(run, f"model={model}", option)
    section, name, value = PEEK[option]
    assert changed[section][name] == value
    plain.pop(section)
    changed.pop(section)
    assert changed == plain


def test_the_default_is_the_task_s_own_model(run: Any) -> None:
    plain, gru = composed(run), composed(run, "model=gru")
    assert plain == composed(run, "model=lstm")
    assert plain["task"]["candidate"] == "tanh"
    assert plain["rules"] == {}
    assert gru["task"] == plain["task"] | {"cell": "gru"}
    assert composed(run, "task=digits")["task"]["model"] == "gru"


@EACH
def test_a_profile(run: Any, model: str) -> None:
    code, text = run("profile", f"model={model}", "task=stdlib", *TINY, "task.projection=6")
    assert code == 0, text
    assert re.search(rf"{model.removeprefix('bit_rnn_')} +12 -> 10 ", text)
    assert "projection" in text
    assert re.search(r"weight_bits +32 +rules\.embedding", text)


@EACH
def test_from_the_search_to_the_score(run: Any, model: str, tmp_path: Path) -> None:
    short = ["baseline.steps=4", "qat.steps=2", "qat.scores=0", "final.steps=3", "trials=1"]
    options = ["references=[4]", "device=cpu", "budget=0.9x", "study=done", "widening.max_share=1"]
    code, text = run("search", f"model={model}", *TINY, *short, *options)
    assert code == 0, text
    outcomes = Study(tmp_path / "done").outcomes()
    assert {each.plan["embedding"].weight_bits for each in outcomes} == {32}
    assert run("apply", "study=done")[0] == 0
    (file,) = tmp_path.glob("done/applied/*/model.safetensors")
    code, text = run("evaluate", f"artifact={file}")
    assert code == 0, text
    assert text.startswith("perplexity ")
    outside = file.rename(tmp_path / "model.safetensors")
    assert run("evaluate", f"artifact={outside}", f"model={model}", "task=stdlib", *TINY)[1] == text


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model=bit_rnn", "model must be one of bit_rnn_gru, bit_rnn_lstm, gru, lstm, got"),
        ("task.candidate=relu", "candidate must be one of tanh, sigmoid, got 'relu'"),
        ("task.initial=2", "initial must be in [0, 1], got 2"),
        ("task.rectified=maybe", "rectified must be true or false, got 'maybe'"),
        ("task.initializer=none", "initializer must be one of uniform, fan_in, got 'none'"),
        ("task.projection=-1", "projection must be a whole number from 0 up, got -1"),
        ("baseline.schedule=linear", "schedule must be cosine, steps or constant, got 'linear'"),
    ],
)
def test_mistakes(run: Any, option: str, words: str) -> None:
    code, text = run("search", *TINY, option, "study=done")
    assert code == 2
    assert words in text
    assert len(text.splitlines()) == 1
