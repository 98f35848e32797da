"""What the examples tell MLflow and Weights & Biases; stand-ins for these record the calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoquant import Outcome, Study

ROOT = Path(__file__).parents[2]
TRIALS = ("w4", "0", "1")
STEPS = list(range(1, 11))

Call = tuple[str, list[Any], dict[str, Any]]
"""Name of the function, arguments, arguments with names."""


def ran(package: str, folder: Path) -> None:
    """Run the script of a package in a folder."""
    stubs = str(Path(__file__).parent / "stubs")
    environment = os.environ | {"PYTHONPATH": stubs, "CALLS": str(folder / "calls")}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / f"track_{package}.py")]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def calls_of(package: str, folder: Path) -> list[Call]:
    lines = map(json.loads, (folder / "calls").read_text(encoding="utf-8").splitlines())
    return [(name, values, named) for called, name, values, named in lines if called == package]


def outcomes_of(package: str, folder: Path) -> list[Outcome]:
    outcomes = Study.open(folder / "runs" / f"of-{package}").outcomes()
    assert tuple(outcome.trial for outcome in outcomes) == TRIALS
    return outcomes


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    ran("mlflow", tmp_path)
    first, *calls, last = calls_of("mlflow", tmp_path)
    assert first == ("log_params", [{"budget": "0.5x", "trials": 2}], {})
    assert last == ("end_run", [], {})
    for outcome in outcomes_of("mlflow", tmp_path):
        trial = f"trial {outcome.trial}"
        losses = [call for call in calls if call[1][0] == f"{trial} loss"]
        assert [(name, named["step"]) for name, _, named in losses] == [
            ("log_metric", step) for step in STEPS
        ]
        assert all(type(value) is float for _, (_, value), _ in losses)
        values = {f"{trial} score": outcome.score, f"{trial} size_bytes": outcome.size_bytes}
        assert ("log_metrics", [values], {}) in calls
    trainings = sum(len(outcome.scores) for outcome in outcomes_of("mlflow", tmp_path))
    assert len(calls) == trainings * len(STEPS) + len(TRIALS)


def test_wandb(tmp_path: Path) -> None:
    ran("wandb", tmp_path)
    first, *calls, last = calls_of("wandb", tmp_path)
    assert (first[0], first[2]["mode"], first[2]["config"]["budget"]) == ("init", "offline", "0.5x")
    assert last == ("finish", [], {})
    logged = [values[0] for name, values, _ in calls if name == "log"]
    for outcome in outcomes_of("wandb", tmp_path):
        loss = f"trial {outcome.trial}/loss"
        steps = [values[f"trial {outcome.trial}/step"] for values in logged if loss in values]
        assert steps == STEPS
        values = {"trial": outcome.trial, "score": outcome.score, "size_bytes": outcome.size_bytes}
        assert values in logged
    trainings = sum(len(outcome.scores) for outcome in outcomes_of("wandb", tmp_path))
    assert len(logged) == len(calls) == trainings * len(STEPS) + len(TRIALS)
