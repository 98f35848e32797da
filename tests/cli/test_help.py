"""What the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

import autoquant
from autoquant.cli.help import overview
from tests.cli.typed import run


def test_help_and_version(place):
    assert run(place, "--help") == (0, overview(), "")
    assert run(place) == (2, overview(), "")
    assert run(place, "--version").out.strip() == autoquant.__version__
    ran = run(place, "search", "--help")
    assert ran.code == 0
    assert "  budget " in ran.out
    assert "  baseline.steps " in ran.out


@pytest.mark.usefixtures("unchanged")
def test_cfg_prints_what_would_be_used(place):
    ran = run(place, "search", "--cfg", "job", "quantizer=bit_rnn", "trials=3")
    assert ran.code == 0
    assert "\ntrials: 3\n" in ran.out
    assert "  reparametrization: tanh\n" in ran.out
    assert "_target_: autoquant.tasks.language.stdlib\n" in ran.out


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("command", "model", "study"),
    [
        ("search", "lstm", "runs/stdlib-0.15x"),
        ("search", "gru", "runs/stdlib-gru-0.15x"),
        ("search", "bit_rnn_lstm", "runs/stdlib-bit_rnn_lstm-0.6x"),
        ("sweep", "gru", "runs/stdlib-gru-sweep"),
    ],
)
def test_a_default_folder_names_the_model(place, command, model, study):
    ran = run(place, command, "--cfg", "job", "--resolve", f"model={model}")
    assert ran.code == 0
    assert f"\nstudy: {study}\n" in ran.out


def test_help_and_mistakes_do_not_wait_for_torch():
    code = """
import sys
from autoquant.cli.main import main
for arguments in (["--help"], ["--version"], ["search", "--help"], ["serach"], ["search", "a=1"]):
    try:
        main(arguments)
    except SystemExit:
        pass
print([name for name in ("torch", "optuna", "matplotlib") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_python_runs_the_package():
    command = [sys.executable, "-m", "autoquant", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == autoquant.__version__


def test_a_warning_of_the_package_reaches_the_terminal():
    code = """
import logging
from autoquant.cli.main import main
import autoquant.quantization.native.library
try:
    main(["search", "--cfg", "job"])
finally:
    logging.getLogger("autoquant.quantization.native.library").warning("slower")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "slower\n"
