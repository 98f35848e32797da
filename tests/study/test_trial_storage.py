"""Trials on disk: asked for, scored, ended; read as outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome
from autoquant.study.trial_storage import NoPlanLeft, TrialStorage
from autoquant.task import Direction

PLAN = Plan({"rnn.l0": LayerChoice(4, 8, 1.5, 2, 4), "decoder": LayerChoice(3, 8)})
RANGES = {name: IntDistribution(0, 4) for name in ("rnn.l0.weight_bits", "decoder.weight_bits")}


class Nothing(RandomSampler):
    """Has no plan left."""

    def infer_relative_search_space(self, *args: Any) -> Any:
        raise NoPlanLeft


def open_storage(path: Path, direction: Direction = "minimize") -> TrialStorage:
    return TrialStorage(path / "journal.log", direction)


@pytest.fixture
def storage(tmp_path: Path) -> TrialStorage:
    return open_storage(tmp_path)


def describe(params: Mapping[str, int]) -> tuple[Plan, Mapping[str, Any]]:
    return PLAN, {"size_bytes": 1234, "choices": dict.fromkeys(params, "4 bits")}


def ask(storage: TrialStorage, sampler: BaseSampler | None = None) -> Plan | None:
    return storage.ask(sampler or RandomSampler(seed=0), RANGES, describe)


def test_an_open_trial_has_its_scores(storage: TrialStorage, tmp_path: Path) -> None:
    assert ask(storage) == PLAN
    storage.add_score("search", "0", (40, 0, 8.0), seconds=2.0)
    storage.add_score("search", "0", (10, 1, 9.5), seconds=1.0)
    storage.add_score("search", "0", (10, 0, 9.0), seconds=0.5)
    expected = Outcome(
        trial="0",
        role="search",
        plan=PLAN,
        size_bytes=1234,
        state="scored",
        score=8.0,
        steps=40,
        seconds=3.5,
        history=((10, 9.25), (40, 8.0)),
        scores=((10, 0, 9.0), (10, 1, 9.5), (40, 0, 8.0)),
    )
    assert storage.outcomes() == [expected]
    assert open_storage(tmp_path).outcomes() == [expected]


def test_people_and_the_dashboard_see_choices_and_objectives(storage: TrialStorage) -> None:
    ask(storage)
    storage.add_score("search", "0", (10, 0, 9.0), 1.0)
    storage.end("search", "0", "complete", values=(1234.0, 9.0))
    (trial,) = storage.trials("search")
    assert trial.user_attrs["choices"] == dict.fromkeys(RANGES, "4 bits")
    assert trial.values == [1234.0, 9.0]
    assert set(trial.params) == {*RANGES}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("complete", TrialState.COMPLETE),
        ("pruned", TrialState.PRUNED),
        ("diverged", TrialState.FAIL),
        ("failed", TrialState.FAIL),
    ],
)
def test_ends(state: Any, told: TrialState, storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    storage.add_score("search", "0", (10, 0, 9.0), 1.0)
    storage.end("search", "0", state, "because", values=(1234.0, 9.0))
    for opened in (storage, open_storage(tmp_path)):
        (outcome,) = opened.outcomes()
        assert (outcome.state, outcome.score, outcome.reason) == (state, 9.0, "because")
        assert opened.trials("search")[0].state == told


def test_a_trial_that_has_ended_does_not_change(storage: TrialStorage) -> None:
    ask(storage)
    storage.end("search", "0", "failed", "no memory")
    before = storage.outcomes()
    storage.add_score("search", "0", (10, 0, 9.0), 1.0)
    storage.end("search", "0", "pruned")
    assert storage.outcomes() == before


def test_references_come_first_and_keep_their_names(storage: TrialStorage) -> None:
    ask(storage)
    for name in ("w8", "w2"):
        storage.open_reference(name, PLAN, 99)
        storage.add_score("reference", name, (10, 0, 1.0), 1.0)
        storage.end("reference", name, "complete", values=(99.0, 1.0))
    ask(storage)
    outcomes = storage.outcomes()
    assert [outcome.trial for outcome in outcomes] == ["w8", "w2", "0", "1"]
    assert [outcome.role for outcome in outcomes] == ["reference"] * 2 + ["search"] * 2


def test_no_plan_left(storage: TrialStorage) -> None:
    assert ask(storage, Nothing()) is None
    assert storage.outcomes() == []
    assert [trial.state for trial in storage.trials("search")] == [TrialState.FAIL]


# --- interruptions --------------------------------------------------------------------------------


def killed_before_it_was_asked(storage: TrialStorage) -> None:
    storage._studies["search"].enqueue_trial(dict.fromkeys(RANGES, 0))


def killed_before_its_attributes(storage: TrialStorage) -> None:
    storage._studies["search"].ask(fixed_distributions=dict(RANGES))


@pytest.mark.parametrize(
    "kill",
    [killed_before_it_was_asked, killed_before_its_attributes],
    ids=["waiting", "without attributes"],
)
def test_trials_without_a_plan_are_closed(
    kill: Callable[[TrialStorage], None], tmp_path: Path
) -> None:
    first = open_storage(tmp_path)
    ask(first)
    first.add_score("search", "0", (10, 0, 5.0), 1.0)
    kill(first)
    storage = open_storage(tmp_path)
    storage.close_interrupted()
    states = [trial.state for trial in storage.trials("search")]
    assert states == [TrialState.RUNNING, TrialState.FAIL]
    (outcome,) = storage.outcomes()
    assert (outcome.state, outcome.score) == ("scored", 5.0)  # it goes on


def test_closing_twice_and_closing_nothing(storage: TrialStorage) -> None:
    storage.close_interrupted()
    assert storage.outcomes() == []
    killed_before_its_attributes(storage)
    storage.close_interrupted()
    storage.close_interrupted()
    assert [trial.state for trial in storage.trials("search")] == [TrialState.FAIL]


def test_a_line_cut_off_by_a_full_disk(tmp_path: Path) -> None:
    first = open_storage(tmp_path)
    ask(first)
    first.add_score("search", "0", (10, 0, 5.0), 1.0)
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    storage = open_storage(tmp_path)
    assert [outcome.score for outcome in storage.outcomes()] == [5.0]
    storage.add_score("search", "0", (40, 0, 4.0), 1.0)
    assert [outcome.score for outcome in open_storage(tmp_path).outcomes()] == [4.0]


def test_a_lock_left_by_a_killed_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna would wait for half a minute; on a relative path for ever."""
    monkeypatch.chdir(tmp_path)
    Path("study").mkdir()
    ask(open_storage(Path("study")))
    Path("study/journal.log.lock").symlink_to("study/journal.log")
    storage = open_storage(Path("study"))
    ask(storage)
    assert [outcome.trial for outcome in storage.outcomes()] == ["0", "1"]


@pytest.mark.parametrize("state", ["complete", "scored", "pruned", "failed"])
def test_restored_as_it_was(state: Any, tmp_path: Path) -> None:
    outcome = Outcome(
        trial="2",
        role="search",
        plan=PLAN,
        size_bytes=1234,
        state=state,
        score=9.0,
        steps=10,
        seconds=1.5,
        history=((10, 9.0),),
        reason="" if state in ("complete", "scored") else "because",
        scores=((10, 0, 9.0),),
    )
    storage = open_storage(tmp_path)
    storage.restore(outcome, params=dict.fromkeys(RANGES, 1), ranges=RANGES)
    assert open_storage(tmp_path).outcomes() == [outcome]
    storage.add_score("search", "2", (40, 0, 8.0), 1.0)
    expected = 8.0 if state == "scored" else 9.0
    assert [o.score for o in storage.outcomes()] == [expected]
    assert replace(outcome, trial="0") not in storage.outcomes()


def test_trials_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    backend = JournalFileBackend(str(tmp_path / "journal.log"))
    optuna.create_study(study_name="search", storage=JournalStorage(backend))
    with pytest.raises(UserError, match="earlier version"):
        open_storage(tmp_path)


def test_optuna_is_made_quiet(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    open_storage(tmp_path)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
