"""Functions of the user that are called in the course of a search, a sweep, and of applying."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest

from autoquant import Outcome, RunError, StepResult
from autoquant.commands.apply import apply
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import Diverged, UserError
from autoquant.executors.serial import SerialExecutor
from autoquant.settings import Rounds, Search, Space, Sweep, Training
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from tests.toys import language_task

SHORT, COMMON, FULL = 5, 4, 10
"""Steps of two rungs, and those of the short one that they have in common: 80% of it."""
SETTINGS = Search(
    budget="9kB",
    trials=2,
    device="cpu",
    sensitivity=0,
    references=(2,),
    baseline=Training(steps=3, scores=1),
    qat=Training(steps=SHORT, scores=1),
    final=Training(steps=FULL, scores=1),
    rounds=Rounds(size=1, orders=1, medium=1.0, full=False, finalists=1, spread=0.0),
    space=Space(width=(1.0,)),
    sampler="random",
)
"""One data order on one rung: that of the seed, on the short one. The first proposal is better."""
BASELINE = [("float baseline", step, 3) for step in (1, 2, 3)]


def toy() -> Any:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def searched(folder: Path, settings: Search = SETTINGS, **callbacks: Any) -> Any:
    return search(toy(), settings, study=folder, progress=False, **callbacks)


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


def steps_of(*runs: str, first: int = 1, steps: int = SHORT) -> list[tuple[str, int, int]]:
    """What is told of some trainings.

    Args:
        *runs: their names.
        first: the first step that they do.
        steps: of each, those before the first one too.
    """
    return [(run, step, steps) for run in runs for step in range(first, steps + 1)]


def states(folder: Path) -> list[tuple[str, str]]:
    """The trials of a study, and what became of them; from its log, which is always up to date."""
    found: dict[str, str] = {}
    for line in Study(folder).trials_file.read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "open":
            found[entry["trial"]] = "scored"
        elif entry["event"] == "end":
            found[entry["trial"]] = entry["state"]
    return [*found.items()]


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
    """A trial is told of when it is known that it does not go on, and has been recorded."""
    steps, outcomes, recorded, done = Steps(), list[Outcome](), [], []

    def on_trial(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done.append(len(steps.told))
        recorded.append(states(tmp_path / "study"))

    result = searched(tmp_path / "study", on_step=steps, on_trial=on_trial)
    assert steps.told == BASELINE + steps_of("trial w2", "trial 0", "trial 1")
    assert [score is not None for score in steps.scores] == [False, True, False] + 15 * [False]
    assert tuple(outcomes) == result.outcomes
    assert done == [3 + SHORT, 3 + 3 * SHORT, 3 + 3 * SHORT]
    assert [(outcome.trial, outcome.state) for outcome in outcomes] == recorded[-1]
    assert recorded == [
        [("w2", "complete")],
        [("w2", "complete"), ("0", "complete"), ("1", "scored")],
        [("w2", "complete"), ("0", "complete"), ("1", "pruned")],
    ]
    searched(tmp_path / "study", on_step=steps, on_trial=on_trial)
    assert (len(steps.told), len(outcomes)) == (18, 3)  # nothing was left to do


def test_a_longer_rung_tells_what_it_adds_and_data_orders_have_names(study: Path) -> None:
    """Each rung begins after 80% of the steps of the one before."""
    rounds = Rounds(size=1, orders=2, medium=2.0, full=True, finalists=1)
    pretrained = str(study / "baseline.safetensors")
    settings = SETTINGS.changed(trials=1, final=Training(steps=20), rounds=rounds)
    steps, told = Steps(), list[Outcome]()
    settings = settings.changed(pretrained=pretrained)
    searched(study.parent / "rungs", settings, on_step=steps, on_trial=told.append)
    assert steps.told == [
        *steps_of("trial w2", "trial w2, data order 1"),
        *steps_of("trial 0", "trial 0, data order 1"),
        *steps_of("trial 0", first=5, steps=10),
        *steps_of("trial 0", first=9, steps=20),
        *steps_of("trial 0, data order 1", first=5, steps=20),
    ]
    assert [[step for step, _ in outcome.history] for outcome in told] == [[5], [5, 10, 20]]


def test_steps_in_other_processes_are_not_told(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = SerialExecutor()
    made: list[tuple[int, int]] = []

    def new_executor(settings: Search, folder: Path) -> SerialExecutor:
        made.append((settings.workers, settings.threads))
        return serial

    monkeypatch.setattr("autoquant.rounds.place.new_executor", new_executor)
    steps, told = Steps(), list[Outcome]()
    result = searched(study, SETTINGS.changed(workers=2), on_step=steps, on_trial=told.append)
    assert made == [(2, 1)]
    assert steps.told == []
    assert tuple(told) == result.outcomes
    assert len(told) == 3


ERRORS: list[tuple[BaseException, int]] = [
    (KeyboardInterrupt(), COMMON - 1),
    (KeyboardInterrupt(), COMMON),
    (ValueError("mine"), 1),
    (ValueError("mine"), SHORT),
    (RunError("mine"), 2),
    (Diverged("mine"), 2),
    (MemoryError(), 2),
]


@pytest.mark.parametrize(
    ("error", "step"), ERRORS, ids=[f"{type(error).__name__}-{step}" for error, step in ERRORS]
)
def test_an_error_at_a_step_ends_the_search_which_goes_on(
    error: BaseException, step: int, study: Path
) -> None:
    told: list[Outcome] = []
    with pytest.raises(type(error)) as raised:
        searched(study, on_step=Steps(error, ("trial 0", step)), on_trial=told.append)
    assert raised.value is error
    assert states(study) == [("w2", "complete"), ("0", "scored")]
    assert [(o.trial, o.state) for o in told] == [("w2", "complete")]
    notes = "\n".join(getattr(error, "__notes__", ()))
    expected = not isinstance(error, KeyboardInterrupt)
    assert ("in the job trial 0: 5 steps in data order 0 of plan " in notes) == expected
    assert (f"the study is in '{study}'" in notes) == expected
    if isinstance(error, KeyboardInterrupt | ValueError):
        steps = Steps()
        searched(study, on_step=steps, on_trial=told.append)
        first = 1 if step < COMMON else COMMON + 1
        assert steps.told == steps_of("trial 0", first=first) + steps_of("trial 1")
        assert [o.trial for o in told] == ["w2", "0", "1"]
        assert states(study) == [("w2", "complete"), ("0", "complete"), ("1", "pruned")]


def test_a_broken_pool_of_the_user_is_no_worker_that_died(study: Path) -> None:
    """It would be trained again and again, and then be a failed trial."""
    steps = Steps(BrokenExecutor("mine"), ("trial w2", 2))
    with pytest.raises(RuntimeError, match=r"^BrokenExecutor: mine\n"):
        searched(study, on_step=steps)
    assert steps.told == steps_of("trial w2")[:2]
    assert states(study) == [("w2", "scored")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=["ctrl-c", "own"])
@pytest.mark.parametrize("trial", ["w2", "0"], ids=["reference", "finalist"])
def test_an_error_after_a_trial_leaves_it_recorded(
    trial: str, error: BaseException, study: Path
) -> None:
    told: list[str] = []

    def on_trial(outcome: Outcome) -> None:
        told.append(outcome.trial)
        if outcome.trial == trial:
            raise error

    with pytest.raises(type(error)) as raised:
        searched(study, on_trial=on_trial)
    assert raised.value is error
    finalist = [("0", "complete"), ("1", "scored")] if trial == "0" else []
    assert states(study) == [("w2", "complete"), *finalist]
    table = [(outcome.trial, outcome.state) for outcome in Study(study).outcomes()]
    assert table == states(study)
    trial, steps = "none", Steps()
    searched(study, on_step=steps, on_trial=on_trial)
    assert steps.told == ([] if finalist else steps_of("trial 0", "trial 1"))
    assert told == ["w2", "0", "1"]


def test_an_error_in_the_float_models_training_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    folder, steps = tmp_path / "study", Steps(ValueError("mine"), ("float baseline", 2))
    with pytest.raises(ValueError, match="mine"):
        searched(folder, on_step=steps)
    assert Study(folder).outcomes() == []
    assert not Study(folder).trials_file.exists()
    steps.error = KeyboardInterrupt()
    steps.at = ("trial w2", 1)
    with pytest.raises(KeyboardInterrupt):
        searched(folder, on_step=steps)
    assert steps.told == [*BASELINE, ("trial w2", 1, SHORT)]


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
    assert steps.told == BASELINE + steps_of(*names, steps=FULL)
    assert [bool(score) for score in steps.scores[3:]] == 2 * [step == 5 for step in range(1, 11)]


def test_apply_tells_its_steps_and_goes_on(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It continues the training that the search gave the plan."""
    with pytest.raises(KeyboardInterrupt):
        searched(study, on_step=Steps(KeyboardInterrupt(), ("trial 0", 1)))
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    (study / "baseline.safetensors").unlink()  # is trained again
    steps = Steps(ValueError("mine"), ("apply", COMMON + 2))
    with pytest.raises(ValueError, match="mine"):
        apply(study, toy(), trial="w2", progress=False, on_step=steps)
    steps.error = None
    applied = apply(study, toy(), trial="w2", progress=False, on_step=steps)
    assert steps.told == BASELINE + steps_of("apply", first=COMMON + 1, steps=FULL)
    assert applied.steps == FULL
    again = apply(study, toy(), trial="w2", progress=False, on_step=steps)
    assert again == applied
    assert len(steps.told) == 3 + FULL - COMMON


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
