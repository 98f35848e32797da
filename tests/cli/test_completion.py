"""Completion: what may follow, and the scripts in the shells themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoquant.cli.completion import SHELLS, candidates, replies
from tests.cli.typed import ROOT, refused, run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with two studies, one of them with trials and a packed file."""
    for name in ("runs/one", "my study"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "runs/one/outcomes.csv").write_text("trial,plan\nw4,{}\n0,{}\n")
    (tmp_path / "runs/one/applied/plan-1").mkdir(parents=True)
    (tmp_path / "runs/one/applied/plan-1/model.safetensors").touch()
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/walks.yaml").write_text("task:\n  length: 3\n  padded: false\n")
    (tmp_path / "text.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("se", ["search"]),
        ("so", ["solve"]),
        ("completion ", [*SHELLS]),
        ("serach b", []),
        ("search bu", ["budget="]),
        ("search budget=0.1x bu", []),
        ("search w", ["workers=", "widening."]),
        ("search qat.sc", ["qat.schedule=", "qat.scale_lr=", "qat.scores="]),
        ("search qat.schedule=", [f"qat.schedule={x}" for x in ("cosine", "steps", "constant")]),
        ("search --mu", ["--multirun"]),
        ("search --cfg ", ["job", "hydra", "all"]),
        ("search fill=", ["fill=true", "fill=false"]),
        ("search kernel=n", ["kernel=native"]),
        ("search quantizer=", ["quantizer=bit_rnn", "quantizer=lsq"]),
        ("search quantizer.norms=", ["quantizer.norms=float", "quantizer.norms=half"]),
        ("search task=d", ["task=digits"]),
        ("search task.hi", ["task.hidden="]),
        ("search task=digits model=", ["model=conv", "model=gru", "model=lstm"]),
        ("search task=ptb task.da", ["task.data_dir="]),
        ("search task.rectified=t", ["task.rectified=true"]),
        ("search --config-dir conf task=w", ["task=walks"]),
        ("search --config-dir=conf task=walks task.", ["task.length=", "task.padded="]),
        ("search --config-dir=conf task=walks task.padded=f", ["task.padded=false"]),
        ("sweep sweep.init", ["sweep.init_from="]),
        ("sweep sweep.init_from=", ["sweep.init_from=baseline", "sweep.init_from=scratch"]),
        ("report study=", ["study=runs/one", "study=conf/", "study=my study", "study=runs/"]),
        ("report study=runs/o", ["study=runs/one"]),
        ("apply study=runs/one trial=", ["trial=w4", "trial=0"]),
        ("apply study=nowhere trial=", []),
        ("apply plan=te", ["plan=text.txt"]),
        ("evaluate artifact=runs/one/a", None),
        ("export format=", [f"format={x}" for x in ("onnx", "c", "torch", "qonnx")]),
        ("evaluate split=v", ["split=valid"]),
    ],
)
def test_what_may_follow(folder, typed, found):
    if found is None:
        packed = "artifact=runs/one/applied/plan-1/model.safetensors"
        found = [packed, "artifact=runs/one/applied/"]
    assert candidates(typed.split(" ")) == found


def test_a_damaged_file_gives_nothing(folder):
    (folder / "conf/task/walks.yaml").write_text("task: [")
    assert candidates(["search", "--config-dir=conf", "task=walks", "task."]) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("autoquant rep", ["report "]),
        ("autoquant search task.hi", ["task.hidden="]),
        ("autoquant search quantizer=", ["bit_rnn ", "lsq "]),
        ("autoquant report study=my", ["my\\ study "]),
        ("autoquant report study=my\\ s", ["my\\ study "]),
        ('autoquant report "study=my s', ['my study" ']),
        ("autoquant report study=ru", ["runs/one ", "runs/"]),
    ],
)
def test_what_bash_inserts(folder, line, found):
    assert replies(line) == found


def test_a_bash_that_does_not_break_words_at_equals_signs(folder):
    assert replies("autoquant search fill=t", breaks=" ") == ["fill=true "]


BASH = """
source "$1"; complete -p autoquant
COMP_LINE='autoquant report study=my'; COMP_POINT=${#COMP_LINE}
_autoquant autoquant; printf '%s|' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { print -r -- "$@" }; compadd() { print -r -- "$@" }
source "$1"; words=(autoquant report 'study=my\\ s'); CURRENT=3; _autoquant
"""
FISH = "source $argv[1]; complete -C 'autoquant report study=my'"
SCRIPTS = {
    "bash": (BASH, "complete -o nospace -F _autoquant autoquant\nmy\\ study |"),
    "zsh": (ZSH, "_autoquant autoquant\n-S  --\n-- study=my study\n"),
    "fish": (FISH, "study=my study\n"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_in_the_shell_itself(folder, shell, monkeypatch):
    """A program of that name is called, as the installed one would be."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = folder / "autoquant"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autoquant "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (folder / "script").write_text(run(folder, "completion", shell).out)
    code, found = SCRIPTS[shell]
    options = {"bash": ["-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[shell]
    name = [] if shell == "fish" else [shell]
    command = [shell, *options, code, *name, str(folder / "script")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (found, "")


def test_completion_imports_neither_torch_nor_hydra(folder):
    code = (
        "import sys; from autoquant.cli.completion import candidates\n"
        "assert candidates(['search', 'task.h']) == ['task.hidden=']\n"
        "print([name for name in ('torch', 'hydra', 'numpy', 'cattrs') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert ran.stdout == "[]\n", ran.stderr


def test_the_command(tmp_path):
    line = "completion must be followed by one of bash, zsh, fish, got 'bsh' (near: bash)"
    assert refused(run(tmp_path, "completion", "bsh")).startswith(line[:-7])
    assert "Usage: autoquant completion SHELL" in run(tmp_path, "completion", "--help").out
    script = run(tmp_path, "completion", "zsh").out
    assert json.loads(run(tmp_path, "completion", "zsh", "--json").out) == {"script": script}
    found = json.loads(run(tmp_path, "completion", "words", "sol", "--json").out)
    assert found == {"candidates": ["solve"]}
