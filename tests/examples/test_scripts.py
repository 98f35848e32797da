"""The example programs run as they are; each predicts from its packed file in a new process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from ast import literal_eval
from importlib.util import find_spec
from pathlib import Path

import pytest

from autoquant import Study

FOLDER = Path(__file__).parents[2] / "examples"
PREDICTIONS = {  # what the last line begins with, and whether a prediction can be right
    "keyword_spotter": ("heard", lambda classes: classes[0] in range(4)),
    "forecaster": ("next", lambda waves: len(waves[0]) == 4 and max(map(abs, waves[0])) < 2),
    "dict_batches": ("class", lambda classes: classes[0] in range(3)),
    "fine_tuned": ("kinds", lambda kinds: sum(map(int.__eq__, kinds[0], [0, 1] * 3)) >= 5),
    "executorch_program": ("compared", lambda found: found[0][0] < 1e-4 and found[0][1] < 0.5),
}
EACH = pytest.mark.parametrize("name", PREDICTIONS)
SLOW = ("keyword_spotter", "forecaster", "dict_batches", "executorch_program")
NEEDS = {"executorch_program": "executorch"}  # packages that only one program uses


def _marks(name: str) -> list[pytest.MarkDecorator]:
    package = NEEDS.get(name)
    absent = package is not None and find_spec(package) is None
    marks = [pytest.mark.skip(reason=f"{package} is not installed")] if absent else []
    return [*marks, pytest.mark.slow] if name in SLOW else marks


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=_marks(n)) for n in PREDICTIONS],
)
def test_a_program_runs(name: str, tmp_path: Path) -> None:
    script = str(FOLDER / f"{name}.py")
    command, environment = [sys.executable, script], os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert "plan" in ran.stdout
    label, plausible = PREDICTIONS[name]
    prediction = re.search(rf"{label}: (.*)\n\Z", ran.stdout)
    assert prediction is not None
    assert plausible(literal_eval(prediction[1]))
    (study,) = (tmp_path / "runs").iterdir()
    assert Study.open(study).plan()


@EACH
def test_a_program_is_short_and_needs_no_task_of_its_own(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    assert "build_model" not in text
