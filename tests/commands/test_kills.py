"""Kills at random moments of every phase: nothing is lost, nothing is left, all ends the same.

A child process, forked with everything imported, runs a command and writes the time at which each
phase begins into a pipe. It is killed a random while after the phase under test has begun, then the
command runs again, in this process.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from autoquant.applying import full_training
from autoquant.commands import apply as apply_module
from autoquant.commands import search as search_module
from autoquant.commands import sweep as sweep_module
from autoquant.rounds.search_rounds import SearchRounds
from autoquant.settings import Rounds, Search, Space, Sweep, Training, Widening
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from autoquant.tasks.language import LanguageTask
from tests.toys import language_task

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

KILLS = 20
SETTINGS = Search(
    budget="9kB",
    trials=3,
    device="cpu",
    references=(8, 2),
    baseline=Training(steps=10, scores=2),
    qat=Training(steps=4),
    final=Training(steps=12, scores=1),
    rounds=Rounds(size=2, orders=2, medium=2, finalists=2),
    widening=Widening(max_share=1.0, max_growth=1.0),
    space=Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.5)),
)
GRID = Sweep(weight_bits=(4, 2), width=(1.0, 1.5))


def toy() -> LanguageTask:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def run_search(folder: Path) -> Any:
    """What a search finds, without times and names: a trial that never had a plan has a number."""
    result = search_module.search(toy(), SETTINGS, study=folder, progress=False)
    outcomes = [replace(outcome, seconds=0.0, trial="") for outcome in result.outcomes]
    trunks = sorted(path.name for path in result.study.trunks.iterdir())
    (chosen,) = result.selections
    level = chosen and (chosen.chosen.plan, [outcome.plan for outcome in chosen.level])
    return outcomes, level, trunks, result.study.baseline_file.read_bytes()


def run_apply(folder: Path) -> Any:
    """Apply the chosen plan, whose training goes on, and a reference, which is trained anew."""
    results = [apply_module.apply(folder, toy(), trial=t, progress=False) for t in (None, "w2")]
    return [(replace(r, artifact=Path(), seconds=0.0), r.artifact.read_bytes()) for r in results]


def run_sweep(folder: Path) -> Any:
    result = sweep_module.sweep(toy(), SETTINGS, sweep=GRID, study=folder, progress=False)
    return [replace(each, seconds=0.0) for each in result.results]


class Phase(NamedTuple):
    """What is killed.

    Attributes:
        run: the command.
        hook: module or class, and the name of the function that begins the phase.
        whole: whether the phase goes on when that function has returned.
        before: command that has made the folder, if any.
    """

    run: Callable[[Path], Any]
    hook: tuple[Any, str]
    whole: bool = False
    before: Callable[[Path], Any] | None = None


PHASES = {
    "baseline": Phase(run_search, (search_module, "load_or_train_baseline")),
    "sensitivity": Phase(run_search, (search_module, "load_or_measure_sensitivity")),
    "references": Phase(run_search, (SearchRounds, "_train_references")),
    "proposals": Phase(run_search, (SearchRounds, "_propose")),
    "longer rungs": Phase(run_search, (SearchRounds, "_promote"), True),
    "apply": Phase(run_apply, (full_training, "load_or_train_baseline"), True, run_search),
    "sweep": Phase(run_sweep, (sweep_module, "load_or_train_baseline"), True),
}


@contextmanager
def telling(phase: Phase, tell: Callable[[], Any]) -> Iterator[None]:
    """Call a function when the phase begins, and when the function that begins it has returned."""
    owner, name = phase.hook
    real = getattr(owner, name)

    def begin(*args: Any, **options: Any) -> Any:
        tell()
        result = real(*args, **options)
        tell()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, begin)
        yield


def killed_after(phase: Phase, folder: Path, seconds: float) -> bool:
    """Kill the command some time after its phase began; whether it was still running."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with telling(phase, lambda: os.write(writing, b"x")):
                phase.run(folder)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    if os.read(reading, 1):  # else there was nothing left to do
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def finished(folder: Path) -> dict[Any, Any]:
    """What a study has recorded: scores of trials, states of ended ones, jobs, runs of a sweep."""
    study = Study(folder)
    outcomes = study.outcomes()
    scores = {(o.trial, *training): score for o in outcomes for *training, score in o.scores}
    states = {o.trial: o.state for o in outcomes if o.state != "scored"}
    runs = {name: each.valid for name, each in SweepTable.of(study).by_name().items()}
    return scores | states | runs | jobs(study)


def jobs(study: Study) -> dict[str, str]:
    """The lines of the log of jobs, by what was trained; the last one may be incomplete."""
    if not study.jobs_file.is_file():
        return {}
    text = study.jobs_file.read_text()
    lines = text[: text.rfind("\n") + 1].splitlines()
    by_job = {",".join(line.split(",")[:5]): line for line in lines}
    assert len(by_job) == len(lines)  # none is trained twice
    return by_job


def left_over(folder: Path) -> list[str]:
    """Files that no finished command leaves; what finalists are continued from is compared."""
    ends = (".tmp", ".checkpoint", ".damaged", ".rename", "journal.log.lock")
    found = [path for path in folder.rglob("*") if path.name.endswith(ends)]
    trunks = Study(folder).trunks
    return [p.name for p in found if (p.parent, p.suffix) != (trunks, ".checkpoint")]


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Phase:
    """A phase, with a checkpoint after every step: most kills meet one that is being written."""
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(SearchRounds, "_nothing_to_gain", lambda rounds, asked: False)
    return PHASES[request.param]


def test_kills_at_random_moments(
    phase: Phase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    times: list[float] = []
    if phase.before is not None:
        phase.before(tmp_path / "before")
        shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with telling(phase, lambda: times.append(time.monotonic())):
        expected = phase.run(tmp_path / "whole")
    length = (time.monotonic() if phase.whole else times[1]) - times[0]
    moments, killed, number = random.Random(0), 0, 0
    while killed < KILLS:
        number += 1
        folder = tmp_path / str(number)
        if phase.before is not None:
            shutil.copytree(tmp_path / "before", folder)
        for _ in range(moments.choice([1, 1, 2])):  # some are killed when they go on, too
            killed += killed_after(phase, folder, moments.uniform(0, length))
        before = finished(folder)
        assert phase.run(folder) == expected
        assert before.items() <= finished(folder).items()
        assert left_over(folder) == []
    assert "damaged" not in capfd.readouterr().err
    print(f"\n{killed} kills in {length:.2f} seconds of the phase, {number} folders")
