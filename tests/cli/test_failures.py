"""Runs that fail, runs that are stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest

from autoquant.rounds import training_job
from autoquant.study.folder import Study
from tests.cli.typed import TINY, contents, refused, run


def test_a_study_that_cannot_be_written(place, searched):
    before = contents(place)
    line = refused(run(place, "search", *TINY, "study=done/plan.yaml/inside"), 1)
    assert line == "'done/plan.yaml/inside' cannot be written: Not a directory"
    assert contents(place) == before


def test_an_applied_plan_that_cannot_be_written(place, searched, tmp_path):
    shutil.copytree(place / "done", tmp_path / "study", ignore=shutil.ignore_patterns("applied"))
    (tmp_path / "study/applied").write_text("in the way")
    line = refused(run(place, "apply", f"study={tmp_path}/study", "steps=2"), 1)
    assert "could not be written: " in line


def test_a_search_in_which_all_diverge(place, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    ran = run(place, "search", *TINY, "study=diverged", "qat.lr=1e30", "references=[]")
    assert ran.code == 1
    assert ran.err.endswith("autoquant: no plan within the budget was trained to its end\n")
    assert "next:" not in ran.out
    assert not (place / "diverged/plan.yaml").exists()
    assert "must have a chosen plan" in refused(run(place, "apply", "study=diverged"))


def test_a_search_in_which_all_fail(place, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    words = "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory\nmore"
    with monkeypatch.context() as patch:
        error = mock.Mock(side_effect=RuntimeError(words))
        patch.setattr("autoquant.rounds.training_job.train_rung", error)
        ran = run(place, "search", *TINY, "study=failed", "references=[]")
    assert ran.code == 1
    reason = f"not enough memory: {words.splitlines()[0]}"
    line = f"no plan within the budget was trained to its end (trial 0 failed: {reason})"
    assert ran.err.endswith(f"autoquant: {line}\n")


def test_an_error_in_a_trial_names_the_trial(place, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    with monkeypatch.context() as patch:
        error = mock.Mock(side_effect=FileNotFoundError(2, "No such file", "a\x1b[2J.png"))
        patch.setattr("autoquant.rounds.training_job.train_rung", error)
        ran = run(place, "search", *TINY, "study=broken", "references=[]")
    assert ran.code == 1
    line = ran.err.splitlines()[-1]
    assert line.startswith("autoquant: No such file: 'a\\x1b[2J.png' (in the job trial 0: ")
    assert " 2 steps in data order 0 of plan " in line
    assert line.endswith("; the study is in 'broken')")
    assert run(place, "search", *TINY, "study=broken", "references=[]").code == 0


def test_ctrl_c_during_the_imports(place):
    """Whatever is imported first: no traceback."""
    code = (
        "import sys, builtins\n"
        "real, stopper = builtins.__import__, sys.argv[1]\n"
        "def stop(name, *args, **options):\n"
        "    if name == stopper:\n"
        "        raise KeyboardInterrupt\n"
        "    return real(name, *args, **options)\n"
        "from autoquant.cli.main import main\n"
        "builtins.__import__ = stop\n"
        "main(['search'])\n"
    )
    going_on = "stopped; the same command goes on from here"
    for name, line in {"autoquant.cli.command_table": "stopped", "hydra": going_on}.items():
        ran = subprocess.run(
            [sys.executable, "-c", code, name], cwd=place, capture_output=True, text=True
        )
        assert (ran.returncode, ran.stderr) == (130, f"\n{line}\n"), name


def test_an_unexpected_error_is_one_line_or_a_traceback(place, searched, monkeypatch):
    monkeypatch.setattr(
        "autoquant.commands.report.report", mock.Mock(side_effect=ZeroDivisionError("x"))
    )
    assert refused(run(place, "report", "study=done"), 1) == "ZeroDivisionError: x"
    monkeypatch.setenv("AUTOQUANT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(place, "report", "study=done")


def test_a_stopped_search_goes_on(place, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    real, calls = training_job.train_rung, []

    def stopped(*arguments, **options):
        calls.append(options["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(training_job, "train_rung", stopped)
    ran = run(place, "search", *TINY, "study=stopped")
    assert ran.code == 130
    assert ran.err.endswith("stopped; the same command goes on from here\n")
    assert calls == ["trial w4", "trial w4, data order 1"]
    assert not list((place / "stopped").rglob("*.tmp"))
    assert run(place, "search", *TINY, "study=stopped").code == 0
    assert calls[2] == calls[1]  # the stopped training runs again; what had ended is kept
    assert calls.count("trial w4") == 1
    ended = [(o.trial, o.state) for o in Study(place / "stopped").outcomes()]
    assert ended == [("w4", "complete"), ("0", "complete")]


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_stops_a_search(name, place):
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from autoquant.cli.main import main; main(sys.argv[1:])"
    )
    arguments = [*TINY, f"study={name}", "baseline.steps=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "search", *arguments],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (place / name / "profile.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("\nstopped; the same command goes on from here\n")
    assert "Traceback" not in err
    left = {path.name for path in (place / name).iterdir()}
    assert left <= {".lock", "config.yaml", "network.json", "profile.json"}
