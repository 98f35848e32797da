"""Functions of the user that are called in the course of a search, a sweep, and of applying."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoquant import Outcome, RunError, StepResult
from autoquant.commands.apply import apply
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import UserError
from autoquant.settings import Search, Sweep, Training
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from autoquant.study.trial_storage import TrialPruned
from tests.toys import language_task

SHORT = Training(steps=2, scores=1)
SETTINGS = Search(
    budget="9kB",
    trials=2,
    device="cpu",
    prune=False,
    sensitivity=0,
    references=(2,),
    baseline=Training(steps=3, scores=0),
    qat=SHORT,
    final=SHORT,
)
BASELINE = [("float baseline", step, 3) for step in (1, 2, 3)]


def toy() -> Any:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def searched(folder: Path, **callbacks: Any) -> Any:
    return search(toy(), SETTINGS, study=folder, progress=False, **callbacks)


class Steps:
    """Follows the steps; raises an error at one of them."""

    def __init__(self, error: BaseException | None = None, at: Any = None) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.scores: list[float | None] = []
        self.error, self.at = error, at

    def __call__(self, result: StepResult) -> None:
        self.told.append((result.run, result.step, result.steps))
        self.scores.append(result.score)
        if self.error is not None and (result.run, result.step) == self.at:
            raise self.error


def steps_of(*runs: str) -> list[tuple[str, int, int]]:
    return [(run, step, 2) for run in runs for step in (1, 2)]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose search was stopped after its float model."""
    folder = tmp_path_factory.mktemp("baseline") / "study"
    with pytest.raises(KeyboardInterrupt):
        searched(folder, on_step=Steps(KeyboardInterrupt(), ("trial w2", 1)))
    return folder


@pytest.fixture
def study(baseline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(baseline, tmp_path / "study"))


def test_a_search_tells_steps_and_trials(tmp_path: Path) -> None:
    steps, outcomes, recorded = Steps(), [], []

    def on_trial(outcome: Outcome) -> None:
        outcomes.append(outcome)
        recorded.append(len(Study(tmp_path / "study").outcomes()))

    result = searched(tmp_path / "study", on_step=steps, on_trial=on_trial)
    assert steps.told == BASELINE + steps_of("trial w2", "trial 0", "trial 1")
    assert [score is not None for score in steps.scores[3:]] == [True, False] * 3
    assert tuple(outcomes) == result.outcomes
    assert recorded == [1, 2, 3]
    searched(tmp_path / "study", on_step=steps, on_trial=on_trial)
    assert (len(steps.told), len(outcomes)) == (9, 3)  # nothing was left to do


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), ValueError("mine"), RunError("mine"), TrialPruned(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_an_error_at_a_step_ends_the_search_which_goes_on(error: Any, study: Path) -> None:
    told: list[Outcome] = []
    with pytest.raises(type(error)) as raised:
        searched(study, on_step=Steps(error, ("trial 0", 2)), on_trial=told.append)
    assert raised.value is error
    left = Study(study).outcomes()
    assert [(o.trial, o.state) for o in left][1:] == [("w2", "complete"), ("0", "interrupted")]
    assert [o.state for o in told] == ["complete"]  # not that of the stop before, of the same name
    named = "in trial 0 of" in "".join(getattr(error, "__notes__", ()))
    assert named != isinstance(error, KeyboardInterrupt)
    if isinstance(error, KeyboardInterrupt | ValueError):
        steps = Steps()
        ended = searched(study, on_step=steps).outcomes
        assert steps.told == steps_of("trial 1", "trial 2")
        assert [o.state for o in ended].count("complete") == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=["ctrl-c", "own"])
def test_an_error_after_a_trial_leaves_it_recorded(error: BaseException, study: Path) -> None:
    def on_trial(outcome: Outcome) -> None:
        raise error

    with pytest.raises(type(error)):
        searched(study, on_trial=on_trial)
    assert [o.state for o in Study(study).outcomes()] == ["interrupted", "complete"]
    steps = Steps()
    searched(study, on_step=steps)
    assert steps.told == steps_of("trial 0", "trial 1")


def test_an_error_in_the_float_models_training_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    folder, steps = tmp_path / "study", Steps(ValueError("mine"), ("float baseline", 2))
    with pytest.raises(ValueError, match="mine"):
        searched(folder, on_step=steps)
    assert Study(folder).outcomes() == []
    steps.error = KeyboardInterrupt()
    steps.at = ("trial w2", 1)
    with pytest.raises(KeyboardInterrupt):
        searched(folder, on_step=steps)
    assert steps.told == [*BASELINE, ("trial w2", 1, 2)]


def test_a_sweep_tells_its_steps_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    study = tmp_path / "study"
    options: dict[str, Any] = {"study": study, "progress": False}
    options["sweep"] = Sweep(weight_bits=(4, 2), test=False)
    names = ["w4-a8-x1-seed0", "w2-a8-x1-seed0"]
    steps = Steps(RunError("mine"), (names[1], 1))
    with pytest.raises(RunError, match="mine"):
        sweep(toy(), SETTINGS, on_step=steps, **options)
    assert [result.run.name for result in SweepTable.of(Study(study)).results()] == names[:1]
    steps.error = None
    result = sweep(toy(), SETTINGS, on_step=steps, **options)
    assert [each.state for each in result.results] == ["complete"] * 2
    assert steps.told == BASELINE + steps_of(*names)


def test_apply_tells_its_steps_and_goes_on(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    (study / "baseline.safetensors").unlink()  # is trained again
    steps = Steps(ValueError("mine"), ("apply", 1))
    with pytest.raises(ValueError, match="mine"):
        apply(study, toy(), trial="w2", progress=False, on_step=steps)
    steps.error = None
    applied = apply(study, toy(), trial="w2", progress=False, on_step=steps)
    assert steps.told == BASELINE + steps_of("apply")
    again = apply(study, toy(), trial="w2", progress=False, on_step=steps)
    assert again == replace(applied)
    assert len(steps.told) == 5


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "search": (lambda study: searched(study, on_step=3), "on_step must be something to call"),
    "trials": (lambda study: searched(study, on_trial=3), "on_trial must be something to call"),
    "sweep": (
        lambda study: sweep(toy(), SETTINGS, study=study, on_step=3),  # type: ignore[arg-type]
        "on_step must be something to call",
    ),
    "runs": (
        lambda study: sweep(toy(), SETTINGS, study=study, on_run=3),  # type: ignore[arg-type]
        "on_run must be something to call",
    ),
}


@pytest.mark.parametrize(("call", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_called_is_refused_and_leaves_no_folder(
    call: Callable[[Path], Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{line}, got 3$"):
        call(tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_apply_refuses_what_cannot_be_called(baseline: Path) -> None:
    with pytest.raises(UserError, match=r"^on_step must be something to call, got 3$"):
        apply(baseline, toy(), on_step=3)  # type: ignore[arg-type]
