"""Trials on disk: begun, ended, closed; read as outcomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import Trial, TrialState

from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome, TrialRole
from autoquant.study.trial_storage import PRUNER_STARTUP, TrialStorage, state_of
from autoquant.task import Direction

PLAN = Plan({"rnn.l0": LayerChoice(4, 8, 1.5, 2, 4), "decoder": LayerChoice(3, 8)})
PARAMS = {"rnn.l0.weight_bits": 2, "decoder.weight_bits": 1}
RANGES = {name: IntDistribution(0, 4) for name in PARAMS}


def open_storage(path: Path, direction: Direction = "minimize", prune: bool = True) -> TrialStorage:
    return TrialStorage(path / "journal.log", direction, prune=prune)


@pytest.fixture
def storage(tmp_path: Path) -> TrialStorage:
    return open_storage(tmp_path)


def begin(storage: TrialStorage, role: TrialRole = "search", **given: Any) -> Trial:
    values: dict[str, Any] = {"params": PARAMS, "ranges": RANGES} if role == "search" else {}
    return storage.begin(role, PLAN, 1234, **(values | given))


def finish(
    storage: TrialStorage, score: float, *reports: float, role: TrialRole = "search"
) -> bool:
    """A trial that reports and completes; whether it would have been pruned at its last report."""
    trial = begin(storage, role, **({} if role == "search" else {"name": "w4"}))
    for step, value in enumerate(reports, start=1):
        trial.report(value, step)
    pruned = trial.should_prune()
    storage.end(role, trial, "complete", score=score)
    return pruned


# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "score", "expected"),
    [
        ("complete", 7.25, 7.25),
        ("pruned", None, 9.0),
        ("diverged", None, 9.0),
        ("interrupted", None, 9.0),
    ],
    ids=["complete", "pruned", "diverged", "interrupted"],
)
def test_an_outcome_is_what_was_told(
    state: Any, score: float | None, expected: float, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path)
    trial = begin(storage)
    trial.report(11.0, 5)
    trial.report(9.0, 10)
    storage.end("search", trial, state, score=score, steps=15, seconds=2.5, reason="because")
    history = ((5, 11.0), (10, 9.0))
    outcome = Outcome(
        "0", "search", PLAN, 1234, state, expected, 15, 2.5, history=history, reason="because"
    )
    assert storage.outcomes() == [outcome]
    assert open_storage(tmp_path).outcomes() == [outcome]


def test_without_reports_there_is_no_score(storage: TrialStorage) -> None:
    storage.end("search", begin(storage), "diverged", reason="nan")
    (outcome,) = storage.outcomes()
    assert (outcome.score, outcome.history, outcome.steps) == (None, (), 0)


def test_parameters_are_those_given(storage: TrialStorage) -> None:
    assert begin(storage).params == PARAMS
    assert [trial.params for trial in storage.trials("search")] == [PARAMS]


def test_references_come_first_and_keep_their_names(storage: TrialStorage) -> None:
    for role, name in [
        ("search", None),
        ("reference", "w8"),
        ("search", None),
        ("reference", "w2"),
    ]:
        trial = begin(storage, role, name=name)
        storage.end(role, trial, "complete", score=1.0)
    outcomes = storage.outcomes()
    assert [outcome.trial for outcome in outcomes] == ["w8", "w2", "0", "1"]
    assert [outcome.role for outcome in outcomes] == ["reference"] * 2 + ["search"] * 2


def test_open_trials_are_not_outcomes(storage: TrialStorage) -> None:
    begin(storage)
    assert storage.outcomes() == []


# --- interruptions --------------------------------------------------------------------------------


def killed_while_running(storage: TrialStorage) -> None:
    begin(storage).report(9.0, 10)


def killed_before_it_was_asked(storage: TrialStorage) -> None:
    storage._studies["search"].enqueue_trial(PARAMS)


def killed_before_its_attributes(storage: TrialStorage) -> None:
    storage._studies["search"].enqueue_trial(PARAMS)
    storage._studies["search"].ask(fixed_distributions=RANGES)


def killed_between_state_and_score(storage: TrialStorage) -> None:
    trial = begin(storage)
    trial.report(9.0, 10)
    trial.set_user_attr("state", "complete")


@pytest.mark.parametrize(
    ("kill", "visible"),
    [
        (killed_while_running, True),
        (killed_before_it_was_asked, False),
        (killed_before_its_attributes, False),
        (killed_between_state_and_score, True),
    ],
    ids=["running", "waiting", "without attributes", "while closing"],
)
def test_interrupted_trials_are_closed(
    kill: Callable[[TrialStorage], None], visible: bool, tmp_path: Path
) -> None:
    first = open_storage(tmp_path)
    finish(first, 5.0)
    kill(first)
    storage = open_storage(tmp_path)
    storage.close_interrupted()
    states = [trial.state for trial in storage.trials("search")]
    assert states == [TrialState.COMPLETE, TrialState.FAIL]
    complete, *interrupted = storage.outcomes()
    assert (complete.state, complete.score) == ("complete", 5.0)
    assert len(interrupted) == visible
    for outcome in interrupted:
        assert (outcome.state, outcome.score, outcome.steps) == ("interrupted", 9.0, 10)
        assert outcome.plan == PLAN
        assert outcome.reason
    assert state_of(storage.trials("search")[-1]) == "interrupted"


def test_a_closed_trial_does_not_come_back(tmp_path: Path) -> None:
    """The parameters of a waiting trial are not handed to the next one."""
    killed_before_it_was_asked(open_storage(tmp_path))
    storage = open_storage(tmp_path)
    storage.close_interrupted()
    other = {name: value + 1 for name, value in PARAMS.items()}
    assert begin(storage, params=other).params == other


def test_closing_twice_and_closing_nothing(storage: TrialStorage) -> None:
    storage.close_interrupted()
    assert storage.outcomes() == []
    finish(storage, 5.0)
    killed_while_running(storage)
    storage.close_interrupted()
    before = storage.outcomes()
    storage.close_interrupted()
    assert storage.outcomes() == before


def test_trials_of_both_roles_are_closed(storage: TrialStorage) -> None:
    begin(storage, "reference", name="w8")
    begin(storage)
    storage.close_interrupted()
    assert [(o.trial, o.state) for o in storage.outcomes()] == [
        ("w8", "interrupted"),
        ("0", "interrupted"),
    ]


def test_a_line_cut_off_by_a_full_disk(tmp_path: Path) -> None:
    finish(open_storage(tmp_path), 5.0)
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    storage = open_storage(tmp_path)
    assert [outcome.score for outcome in storage.outcomes()] == [5.0]
    finish(storage, 6.0)
    assert [outcome.score for outcome in open_storage(tmp_path).outcomes()] == [5.0, 6.0]


def test_a_lock_left_by_a_killed_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna would wait for half a minute; on a relative path for ever."""
    monkeypatch.chdir(tmp_path)
    Path("study").mkdir()
    finish(open_storage(Path("study")), 5.0)
    Path("study/journal.log.lock").symlink_to("study/journal.log")
    storage = open_storage(Path("study"))
    finish(storage, 6.0)
    assert [outcome.score for outcome in storage.outcomes()] == [5.0, 6.0]


# --- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "bad", "good"), [("minimize", 20.0, 5.0), ("maximize", 5.0, 20.0)]
)
def test_worse_than_three_quarters_is_pruned(
    direction: Direction, bad: float, good: float, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path, direction)
    for _ in range(PRUNER_STARTUP):
        assert not finish(storage, 10.0, 10.0)
    assert not finish(storage, 10.0, good)
    assert finish(storage, 10.0, bad)


def test_nothing_is_pruned_before_enough_are_complete(storage: TrialStorage) -> None:
    for _ in range(PRUNER_STARTUP - 1):
        finish(storage, 10.0, 10.0)
    assert not finish(storage, 10.0, 1e9)
    assert finish(storage, 10.0, 1e9)


def test_nothing_is_pruned_when_pruning_is_off(tmp_path: Path) -> None:
    storage = open_storage(tmp_path, prune=False)
    for _ in range(PRUNER_STARTUP + 2):
        finish(storage, 10.0, 10.0)
    assert not finish(storage, 10.0, 1e9)


def test_references_have_no_say_in_pruning(storage: TrialStorage) -> None:
    for _ in range(PRUNER_STARTUP + 2):
        finish(storage, 1.0, 1.0, role="reference")
    assert not finish(storage, 10.0, 10.0)
    for _ in range(PRUNER_STARTUP):
        finish(storage, 10.0, 10.0)
    assert not finish(storage, 9.0, 9.0)  # worse than every reference, better than the median


def test_interrupted_trials_have_no_say_in_pruning(storage: TrialStorage) -> None:
    for _ in range(PRUNER_STARTUP + 2):
        begin(storage).report(1.0, 1)
    storage.close_interrupted()
    assert not finish(storage, 10.0, 10.0)


def test_optuna_is_made_quiet(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    open_storage(tmp_path)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
