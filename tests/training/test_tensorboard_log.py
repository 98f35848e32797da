"""What TensorBoard reads from the files that a log wrote."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import UserError, WriteError
from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome
from autoquant.study.sweep_table import SweepRun, SweepRunResult
from autoquant.training.callbacks import StepResult
from autoquant.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log
from tests.training.events import EventsOf, events_of, name_files_apart

PLAN = Plan({"decoder": LayerChoice(4, 8, 1.0)})
RUN = SweepRun("w4-seed0", PLAN, 0, "baseline")


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    name_files_apart(monkeypatch)


def tell(log: TensorBoardLog, first: int, last: int, run: str = "trial 3", **options: Any) -> None:
    """Tell a log the steps of a training of 25: the loss is the number of the step."""
    for step in range(first, last + 1):
        score = 0.5 if step == 12 else None
        result = StepResult(run, step, 25, torch.tensor(float(step)), 0.1 * step, score)
        log.on_step(result)


def ended(trial: str, role: Any = "search", state: Any = "complete") -> Outcome:
    return Outcome(trial, role, PLAN, 1000, state, score=0.25)


def written(folder: Path, *steps: tuple[int, int], run: str = "trial 3") -> EventsOf:
    with open_log(True, folder) as log:
        assert log is not None
        for first, last in steps:
            tell(log, first, last, run)
    return events_of(folder)


def test_losses_and_rates_of_every_tenth_and_of_the_last_step(tmp_path: Path) -> None:
    events = written(tmp_path, (1, 25))
    assert events == {
        "trial 3": {
            "training/loss": [(10, 10.0), (20, 20.0), (25, 25.0)],
            "training/lr": [(10, 1.0), (20, 2.0), (25, 2.5)],
            "training/probe score": [(12, 0.5)],
        }
    }


def test_a_loss_that_is_not_written_is_not_read(tmp_path: Path) -> None:
    class Unread:
        def __float__(self) -> float:
            raise AssertionError("this waits for the device")

    with open_log(True, tmp_path) as log:
        assert log is not None
        log.on_step(StepResult("trial 3", 9, 25, Unread(), 0.1))  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="waits"):
            log.on_step(StepResult("trial 3", 10, 25, Unread(), 0.1))  # type: ignore[arg-type]


def test_trainings_have_runs_of_their_own(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, {"apply": "apply trial-3"})
    tell(log, 1, 25, "float baseline")
    tell(log, 1, 10, "apply")
    log.close()
    events = events_of(tmp_path)
    assert sorted(events) == ["apply trial-3", "float baseline"]
    assert events["apply trial-3"]["training/loss"] == [(10, 10.0)]


def test_a_resumed_training_goes_on_in_its_run_without_repeated_steps(tmp_path: Path) -> None:
    written(tmp_path, (1, 20))  # was killed; its checkpoint is of step 14
    events = written(tmp_path, (15, 25))
    assert events["trial 3"]["training/loss"] == [(10, 10.0), (20, 20.0), (25, 25.0)]
    assert events["trial 3"]["training/probe score"] == [(12, 0.5)]


def test_a_training_that_starts_again_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    tell(log, 1, 25, RUN.name)
    log.on_run(SweepRunResult(RUN, "complete", valid=0.5, size_bytes=900))
    log.close()
    assert sorted(events_of(tmp_path)[RUN.name]) == [
        *("plan/score", "plan/size in bytes"),
        *("training/loss", "training/lr", "training/probe score"),
    ]
    events = written(tmp_path, (1, 10), run=RUN.name)
    assert events == {RUN.name: {"training/loss": [(10, 10.0)], "training/lr": [(10, 1.0)]}}


def test_scores_and_sizes_of_proposals_by_their_numbers(tmp_path: Path) -> None:
    for trials in (["w4", "0", "1"], ["2"]):  # the search was continued
        log = TensorBoardLog(tmp_path)
        for trial in trials:
            tell(log, 1, 10, f"trial {trial}")
            state = "pruned" if trial == "1" else "complete"
            log.on_trial(ended(trial, "reference" if trial == "w4" else "search", state))
        log.close()
    events = events_of(tmp_path)
    assert events["trials"] == {
        "plan/score": [(0, 0.25), (2, 0.25)],
        "plan/size in bytes": [(0, 1000.0), (1, 1000.0), (2, 1000.0)],
    }
    assert events["trial w4"]["plan/score"] == [(0, 0.25)]
    assert sorted(events["trial 0"]) == ["training/loss", "training/lr"]


def test_a_sweeps_run_without_a_plan_is_not_written(tmp_path: Path) -> None:
    with open_log(True, tmp_path) as log:
        assert log is not None
        log.on_run(SweepRunResult(RUN, "too large"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_can_be_read_while_the_training_goes_on(tmp_path: Path) -> None:
    """After FLUSH_SECONDS, so that a process that is killed loses little."""
    with open_log(True, tmp_path) as log:
        assert log is not None
        tell(log, 1, 20)
        until = time.monotonic() + 5  # another thread writes
        while len(events_of(tmp_path)["trial 3"].get("training/loss", ())) < 2:
            assert time.monotonic() < until


def test_nothing_is_written_where_it_is_not_wanted(tmp_path: Path) -> None:
    with open_log(False, tmp_path) as log:
        assert log is None
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_closed_after_an_error(tmp_path: Path) -> None:
    def stopped() -> None:
        with open_log(True, tmp_path) as log:
            assert log is not None
            tell(log, 1, 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert events_of(tmp_path)["trial 3"]["training/loss"] == [(10, 10.0)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    log = TensorBoardLog(tmp_path / "tensorboard")
    with pytest.raises(WriteError, match=r"tensorboard' could not be written: "):
        tell(log, 1, 1)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.training.tensorboard_log.find_spec", lambda name: None)
    check_tensorboard(False)
    with pytest.raises(UserError) as raised:
        check_tensorboard(True)
    assert str(raised.value) == (
        "tensorboard=true must have tensorboard installed "
        "(pip install 'autoquant-torch[tensorboard]'), got none"
    )
