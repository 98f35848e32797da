"""What a search, a sweep and applying write for TensorBoard."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from autoquant import Outcome, SearchResult
from autoquant.commands.apply import apply
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import UserError
from autoquant.settings import Rounds, Search, Sweep, Training
from autoquant.study.folder import Study
from autoquant.training.schedule import WARMUP_LENGTH
from tests.commands.test_callbacks import COMMON, FULL, SETTINGS, SHORT, Steps, toy
from tests.training.events import EventsOf, events_of, name_files_apart

pytest.importorskip("tensorboard")
LOGGED = SETTINGS.changed(tensorboard=True)
TRAINING = ["training/loss", "training/lr"]


def searched(folder: Path, settings: Search = LOGGED, **callbacks: Any) -> SearchResult:
    return search(toy(), settings, study=folder, progress=False, **callbacks)


def logs(folder: Path) -> EventsOf:
    return events_of(Study(folder).tensorboard)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Steps, list[Outcome]]:
    """A search that was stopped and continued, and what it told the user's own functions."""
    steps, outcomes = Steps(KeyboardInterrupt(), ("float baseline", 2)), list[Outcome]()
    folder = tmp_path_factory.mktemp("searched") / "study"
    with pytest.MonkeyPatch.context() as monkeypatch:
        name_files_apart(monkeypatch)
        monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
        monkeypatch.setattr("autoquant.training.tensorboard_log.LOSS_STEPS", 1)
        with pytest.raises(KeyboardInterrupt):
            searched(folder, on_step=steps)
        steps.error = None
        return searched(folder, on_step=steps, on_trial=outcomes.append), steps, outcomes


def test_a_search_writes_each_training_and_the_trials(recorded: Any) -> None:
    result, _, _ = recorded
    events = logs(result.study.path)
    assert sorted(events) == ["float baseline", "trial 0", "trial 1", "trial w2", "trials"]
    assert [step for step, _ in events["float baseline"]["training/loss"]] == [1, 2, 3]
    assert [step for step, _ in events["float baseline"]["training/probe score"]] == [2]
    used = result.study.search_settings().qat
    rise = used.learning_rate / (1 + WARMUP_LENGTH * used.warmup)
    for outcome in result.outcomes:
        losses, rates = (events[f"trial {outcome.trial}"][tag] for tag in TRAINING)
        assert [step for step, _ in losses] == [*range(1, SHORT + 1)]
        assert all(2 < loss < 3 for _, loss in losses)  # of 10 words in equal shares: 2.3
        assert rates == [(step, pytest.approx(step * rise, abs=5e-6)) for step, _ in losses]
    reference, *proposals = result.outcomes
    assert [outcome.state for outcome in proposals] == ["complete", "pruned"]
    assert events["trials"]["plan/score"] == [(0, pytest.approx(proposals[0].score, rel=1e-4))]
    sizes = [(number, o.size_bytes) for number, o in enumerate(proposals)]
    assert events["trials"]["plan/size in bytes"] == sizes
    assert events["trial w2"]["plan/score"] == [(0, pytest.approx(reference.score, rel=1e-4))]
    assert events["trial w2"]["plan/size in bytes"] == [(0, reference.size_bytes)]
    assert sorted(events["trial 0"]) == TRAINING  # a rung takes no scores on its way


def test_a_longer_rung_goes_on_in_the_run_of_the_shorter_one(
    recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does again, with another learning rate, takes the place of the cool-down."""
    name_files_apart(monkeypatch)
    monkeypatch.setattr("autoquant.training.tensorboard_log.LOSS_STEPS", 1)
    rounds = Rounds(size=1, orders=2, medium=2.0, full=True, finalists=1)
    settings = LOGGED.changed(
        trials=1,
        references=(),
        rounds=rounds,
        qat=Training(steps=SHORT, lr=1e-2, warmup=0),
        final=Training(steps=20, lr=1e-2, warmup=0),
        pretrained=str(recorded[0].study.baseline_file),
    )
    searched(tmp_path / "study", settings)
    events = logs(tmp_path / "study")
    assert sorted(events) == ["trial 0", "trial 0, data order 1", "trials"]
    for name in ("trial 0", "trial 0, data order 1"):
        assert [step for step, _ in events[name]["training/loss"]] == [*range(1, 21)]
        rates = [rate for _, rate in events[name]["training/lr"]]
        assert rates == pytest.approx([0.01] * 16 + [0.008, 0.006, 0.004, 0.002])


def test_the_users_own_functions_are_called_too(recorded: Any) -> None:
    result, steps, outcomes = recorded
    assert len(steps.told) == 3 + 3 * SHORT
    assert tuple(outcomes) == result.outcomes


def test_the_setting_may_change_between_two_searches(recorded: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(recorded[0].study.path, tmp_path / "study"))
    before = logs(folder)
    searched(folder, LOGGED.changed(trials=3, tensorboard=False))
    assert len(Study(folder).outcomes()) == 4
    assert logs(folder) == before


def test_a_sweep_writes_its_runs(tmp_path: Path) -> None:
    steps, grid = Steps(), Sweep(weight_bits=(4,), test=False)
    options: dict[str, Any] = {"sweep": grid, "study": tmp_path, "progress": False}
    (result,) = sweep(toy(), LOGGED, on_step=steps, **options).results
    events = logs(tmp_path)
    name = "w4-a8-x1-seed0"
    assert sorted(events) == ["float baseline", name]
    assert sorted(events[name]) == [
        *("plan/score", "plan/size in bytes", *TRAINING, "training/probe score")
    ]
    assert events[name]["plan/score"] == [(0, pytest.approx(result.valid, rel=1e-4))]
    assert len(steps.told) == 3 + FULL


def test_plans_that_are_applied_have_runs_of_their_own(
    recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.tensorboard_log.LOSS_STEPS", 1)
    folder = Path(shutil.copytree(recorded[0].study.path, tmp_path / "study"))
    before, steps = logs(folder), Steps()
    apply(folder, toy(), trial="w2", progress=False, on_step=steps)
    apply(folder, toy(), trial=0, progress=False)
    after = logs(folder)
    assert after.keys() - before.keys() == {"apply trial-w2", "apply trial-0"}
    assert sorted(after["apply trial-0"]) == TRAINING
    first = {name: after[name]["training/loss"][0][0] for name in after.keys() - before.keys()}
    assert first == {"apply trial-w2": 1, "apply trial-0": COMMON + 1}  # a finalist's goes on
    assert after["apply trial-w2"]["training/loss"][-1][0] == FULL
    assert len(steps.told) == FULL


def test_without_the_package(
    recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.tensorboard_log.find_spec", lambda name: None)
    line = r"^tensorboard=true must have tensorboard installed .*, got none$"
    with pytest.raises(UserError, match=line):
        searched(tmp_path / "study")
    with pytest.raises(UserError, match=line):
        sweep(toy(), LOGGED, study=tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()
    with pytest.raises(UserError, match=line):
        apply(recorded[0].study, toy(), trial="w2", progress=False)
    assert not recorded[0].study.applied("trial-w2").exists()
    training = {"steps": 0}
    apply(recorded[0].study, toy(), trial=0, changes=training, progress=False, tensorboard=False)


def test_apply_refuses_what_is_no_switch(recorded: Any) -> None:
    with pytest.raises(UserError, match=r"^tensorboard must be true or false, got 'yes'$"):
        apply(recorded[0].study, toy(), tensorboard="yes")  # type: ignore[arg-type]
