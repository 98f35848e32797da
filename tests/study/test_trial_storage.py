"""Trials in memory and in their log: asked for, scored, ended; read as outcomes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autoquant import files
from autoquant.errors import WriteError
from autoquant.plan import Plan
from autoquant.study import trial_storage
from autoquant.study.outcome import Outcome
from autoquant.study.trial_log import DamagedLog
from autoquant.study.trial_storage import TrialStorage
from autoquant.task import Direction
from tests.study.samples import PARAMETERS, RANGES, REFERENCE, Nothing, plan_of


class Next(RandomSampler):
    """Proposes the points in order, and keeps what it saw.

    Attributes:
        seen: (name, state, scores, values) of the trials at each proposal.
    """

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.seen: list[list[tuple[Any, ...]]] = []

    def infer_relative_search_space(self, *args: Any) -> Any:
        return dict(RANGES)

    def sample_relative(self, study: Study, trial: FrozenTrial, space: Any) -> dict[str, Any]:
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        self.seen.append(
            [
                (t.number, t.state.name, t.user_attrs.get("scores"), t.values, t.params)
                for t in trials
            ]
        )
        return dict(zip(RANGES, divmod(trial.number, 5), strict=True))


def open_storage(path: Path, direction: Direction = "minimize") -> TrialStorage:
    return TrialStorage(path / "trials.jsonl", direction, PARAMETERS)


@pytest.fixture
def storage(tmp_path: Path) -> TrialStorage:
    return open_storage(tmp_path)


def ask(storage: TrialStorage, sampler: BaseSampler | None = None) -> Plan | None:
    return storage.ask(sampler or Next(), lambda plan: 1234)


def test_an_open_trial_has_its_scores(storage: TrialStorage, tmp_path: Path) -> None:
    assert ask(storage) == plan_of((0, 0))
    storage.add_score("search", "0", (40, 0, 8.0), seconds=2.0)
    storage.add_score("search", "0", (10, 1, 9.5), seconds=1.0)
    storage.add_score("search", "0", (10, 0, 9.0), seconds=0.5)
    expected = Outcome(
        trial="0",
        role="search",
        plan=plan_of((0, 0)),
        size_bytes=1234,
        state="scored",
        score=8.0,
        steps=40,
        seconds=3.5,
        history=((10, 9.25), (40, 8.0)),
        scores=((10, 0, 9.0), (10, 1, 9.5), (40, 0, 8.0)),
    )
    for opened in (storage, open_storage(tmp_path)):
        assert opened.outcomes() == opened.outcomes("search") == [expected]
        assert opened.outcome("search", "0") == expected
        assert opened.outcomes("reference") == []
        assert ("search", "0") in opened
        assert ("reference", "0") not in opened
        assert len(opened) == 1


SCORES = [(10, 0, 9.0), (10, 1, 9.5), (40, 0, 8.0), (40, 1, float("inf"))]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
def test_scores_do_not_depend_on_the_order_in_which_they_come(
    order: tuple[int, ...], storage: TrialStorage, tmp_path: Path
) -> None:
    ask(storage)
    for i in order:
        storage.add_score("search", "0", SCORES[i], 1.0)
    for opened in (storage, open_storage(tmp_path)):
        outcome = opened.outcome("search", "0")
        assert outcome.scores == tuple(SCORES)
        assert outcome.history == ((10, 9.25), (40, float("inf")))
    sampler = Next()
    ask(storage, sampler)
    (seen,) = sampler.seen[-1]
    assert seen[2] == [list(score) for score in SCORES]


@pytest.mark.parametrize("state", ["complete", "pruned", "diverged", "failed", "interrupted"])
def test_ends(state: Any, storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    storage.add_score("search", "0", (10, 0, 9.0), 1.0)
    storage.end("search", "0", state, "because")
    for opened in (storage, open_storage(tmp_path)):
        (outcome,) = opened.outcomes()
        assert (outcome.state, outcome.score, outcome.reason) == (state, 9.0, "because")


def test_a_trial_that_has_ended_does_not_change(storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    storage.end("search", "0", "failed", "no memory")
    before, text = storage.outcomes(), (tmp_path / "trials.jsonl").read_text()
    storage.add_score("search", "0", (10, 0, 9.0), 1.0)
    storage.end("search", "0", "pruned")
    assert storage.outcomes() == before
    assert (tmp_path / "trials.jsonl").read_text() == text


def test_references_come_first_and_keep_their_names(storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    for name in ("w8", "w2"):
        storage.open_reference(name, REFERENCE, 99)
        storage.add_score("reference", name, (10, 0, 1.0), 1.0)
        storage.end("reference", name, "complete")
    ask(storage)
    for opened in (storage, open_storage(tmp_path)):
        outcomes = opened.outcomes()
        assert [outcome.trial for outcome in outcomes] == ["w8", "w2", "0", "1"]
        assert [outcome.role for outcome in outcomes] == ["reference"] * 2 + ["search"] * 2
        assert outcomes[0].plan == REFERENCE


# --- what samplers see ----------------------------------------------------------------------------


def test_a_sampler_sees_open_and_ended_trials(storage: TrialStorage) -> None:
    sampler = Next()
    ask(storage, sampler)
    ask(storage, sampler)
    storage.add_score("search", "1", (10, 0, 9.0), 1.0)
    storage.add_score("search", "0", (10, 0, 7.0), 1.0)
    storage.end("search", "0", "complete")
    ask(storage, sampler)
    assert sampler.seen[1] == [(0, "RUNNING", [], None, dict.fromkeys(RANGES, 0))]
    assert [trial[:4] for trial in sampler.seen[2]] == [
        (0, "COMPLETE", [[10, 0, 7.0]], [1234.0, 7.0]),
        (1, "RUNNING", [[10, 0, 9.0]], None),
    ]


def run(folder: Path, *, stops: bool) -> tuple[list[Outcome], list[Any]]:
    """Six proposals, of which some end; after each change the storage may be opened anew."""
    storage, sampler = open_storage(folder), Next()

    def opened() -> TrialStorage:
        return open_storage(folder) if stops else storage

    for number in range(6):
        storage = opened()
        ask(storage, sampler)
        storage = opened()
        storage.add_score("search", str(number), (10, 0, 9.0 - number), 1.0)
        storage = opened()
        if number % 2:
            ends = {1: "complete", 3: "pruned", 5: "failed"}
            storage.end("search", str(number), ends[number])  # type: ignore[arg-type]
    outcomes = opened().outcomes()
    return outcomes, sampler.seen


def test_a_sampler_sees_the_same_after_stops(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    assert run(tmp_path / "stopped", stops=True) == run(tmp_path / "whole", stops=False)


class Told(Next):
    """Keeps which trials it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[int, TrialState, Any]] = []

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self.ended.append((trial.number, state, values))


def test_a_sampler_is_told_of_ended_trials_in_their_order(storage: TrialStorage) -> None:
    sampler = Told()
    for _ in range(3):
        ask(storage, sampler)
    for name in ("2", "0"):
        storage.add_score("search", name, (10, 0, 5.0), 1.0)
        storage.end("search", name, "complete")
    assert sampler.ended == []  # it is told before the next proposal
    ask(storage, sampler)
    assert sampler.ended == [(i, TrialState.COMPLETE, [1234.0, 5.0]) for i in (0, 2)]


def test_a_program_that_never_asks_has_no_study_of_optuna(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask(storage)
    monkeypatch.setattr(trial_storage, "AskingStudy", None)
    again = open_storage(tmp_path)
    again.add_score("search", "0", (10, 0, 1.0), 1.0)
    again.end("search", "0", "complete")
    assert [o.state for o in again.outcomes()] == ["complete"]


def test_no_plan_left(storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    assert ask(storage, Nothing()) is None
    assert ask(storage, Nothing()) is None
    assert [o.trial for o in storage.outcomes()] == ["0"]
    sampler = Next()
    ask(storage, sampler)  # with more choices there may be some again
    assert [o.trial for o in storage.outcomes()] == ["0", "1"]
    assert [seen[0] for seen in sampler.seen[-1]] == [0]
    assert open_storage(tmp_path).outcomes() == storage.outcomes()


def test_optuna_is_made_quiet(storage: TrialStorage) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    ask(storage)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


# --- interruptions --------------------------------------------------------------------------------


def test_a_proposal_without_a_size_is_proposed_again(storage: TrialStorage) -> None:
    def stopped(plan: Plan) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.ask(Next(), stopped)
    assert storage.outcomes() == []
    assert ask(storage) == plan_of((0, 0))
    assert [o.trial for o in storage.outcomes()] == ["0"]


def test_a_line_cut_off_by_a_full_disk(tmp_path: Path) -> None:
    first = open_storage(tmp_path)
    ask(first)
    first.add_score("search", "0", (10, 0, 5.0), 1.0)
    path = tmp_path / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    storage = open_storage(tmp_path)
    assert [outcome.score for outcome in storage.outcomes()] == [5.0]
    storage.add_score("search", "0", (40, 0, 4.0), 1.0)
    assert [outcome.score for outcome in open_storage(tmp_path).outcomes()] == [4.0]


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_every_cut_leaves_the_trials_before_it(cut: int, tmp_path: Path) -> None:
    storage, path = open_storage(tmp_path), tmp_path / "trials.jsonl"
    for name in ("0", "1"):
        ask(storage)
        storage.add_score("search", name, (10, 0, 5.0), 1.0)
        storage.end("search", name, "pruned", "because")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    again = open_storage(tmp_path)
    found = again.outcomes()
    assert [o.trial for o in found] == ["0", "1"][: len(found)]
    assert [o.plan for o in found] == [o.plan for o in storage.outcomes()][: len(found)]
    if len(found) < 2:
        assert ask(again) == storage.outcomes()[len(found)].plan


def test_nothing_changes_where_the_log_cannot_be_written(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(storage)
    before = storage.outcomes()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "open", full)
        with pytest.raises(WriteError, match="No space left"):
            storage.add_score("search", "0", (10, 0, 5.0), 1.0)
    assert storage.outcomes() == before


# --- damage ---------------------------------------------------------------------------------------


def line(number: int, change: Callable[[dict[str, Any]], Any]) -> Callable[[list[str]], None]:
    """Changes a line of a log."""

    def apply(lines: list[str]) -> None:
        entry = json.loads(lines[number])
        change(entry)
        lines[number] = json.dumps(entry)

    return apply


DAMAGES = {
    "no JSON": (1, lambda lines: lines.__setitem__(0, "PK")),
    "a list": (1, lambda lines: lines.__setitem__(0, "[]")),
    "other parameters": (1, line(0, lambda e: e["names"].reverse())),
    "an unknown event": (3, line(2, lambda e: e.update(event="begun"))),
    "a choice too high": (2, line(1, lambda e: e.update(indices=[0, 5]))),
    "a negative choice": (2, line(1, lambda e: e.update(indices=[0, -1]))),
    "a choice that is a text": (2, line(1, lambda e: e.update(indices=[0, "1"]))),
    "too few choices": (2, line(1, lambda e: e.update(indices=[0]))),
    "no size": (2, line(1, lambda e: e.pop("size_bytes"))),
    "no number": (2, line(1, lambda e: e.update(trial="w4"))),
    "an unknown role": (2, line(1, lambda e: e.update(role="best"))),
    "a score of nothing": (3, line(2, lambda e: e.update(trial="7"))),
    "no score": (3, line(2, lambda e: e.update(score=None))),
    "an unknown end": (4, line(3, lambda e: e.update(state="scored"))),
    "opened twice": (3, lambda lines: lines.insert(2, lines[1])),
    "ended twice": (5, lambda lines: lines.append(lines[3])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_named(damage: str, storage: TrialStorage, tmp_path: Path) -> None:
    ask(storage)
    storage.add_score("search", "0", (10, 0, 5.0), 1.0)
    storage.end("search", "0", "pruned", "because")
    path = tmp_path / "trials.jsonl"
    lines = path.read_text().splitlines()
    number, change = DAMAGES[damage]
    change(lines)
    path.write_text("".join(f"{each}\n" for each in lines))
    with pytest.raises(DamagedLog, match=f"^in line {number}$"):
        open_storage(tmp_path)


# --- restored from a table ------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["complete", "scored", "pruned", "failed"])
@pytest.mark.parametrize("plan", [plan_of((1, 2)), REFERENCE], ids=["of the space", "another"])
def test_restored_as_it_was(state: Any, plan: Plan, tmp_path: Path) -> None:
    outcome = Outcome(
        trial="2",
        role="search",
        plan=plan,
        size_bytes=1234,
        state=state,
        score=9.0,
        steps=10,
        seconds=1.5,
        history=((10, 9.0),),
        reason="" if state in ("complete", "scored") else "because",
        scores=((10, 0, 8.0), (10, 1, 10.0)),
    )
    storage = open_storage(tmp_path)
    storage.restore(outcome)
    assert open_storage(tmp_path).outcomes() == storage.outcomes() == [outcome]
    storage.add_score("search", "2", (40, 0, 8.0), 1.0)
    expected = 8.0 if state == "scored" else 9.0
    assert [o.score for o in storage.outcomes()] == [expected]
    assert replace(outcome, trial="0") not in storage.outcomes()
    sampler = Next()
    ask(storage, sampler)
    assert [seen[:2] for seen in sampler.seen[-1][:2]] == [(0, "FAIL"), (1, "FAIL")]
    assert bool(sampler.seen[-1][2][4]) == (plan is not REFERENCE)
    assert [o.trial for o in storage.outcomes()] == ["2", "3"]


def test_a_restored_plan_keeps_the_way_it_was_written(tmp_path: Path) -> None:
    """Its fingerprint names its trainings: 1 is as wide as 1.0."""
    plan = plan_of((1, 2)).with_choice("decoder", width=1)
    assert plan == plan_of((1, 2))
    storage = open_storage(tmp_path)
    storage.restore(Outcome("0", "search", plan, 1234, "scored"))
    (again,) = open_storage(tmp_path).outcomes()
    assert again.plan.fingerprint == plan.fingerprint != plan_of((1, 2)).fingerprint


# --- many trials ----------------------------------------------------------------------------------


def test_a_change_costs_the_same_with_many_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes that are written, outcomes that are made and plans that are read."""
    storage, made, written, read = open_storage(tmp_path), [0], [0], [0]
    real_outcome, real_replace = trial_storage.Outcome, trial_storage.replace
    real_append = trial_storage.TrialLog.append

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made[0] += 1
            return real(*args, **options)

        return call

    def append(log: Any, *entries: Any) -> None:
        written[0] += sum(len(json.dumps(entry)) for entry in entries)
        real_append(log, *entries)

    def from_dict(data: Any) -> Plan:
        read[0] += 1
        raise AssertionError

    monkeypatch.setattr(trial_storage, "Outcome", counted(real_outcome))
    monkeypatch.setattr(trial_storage, "replace", counted(real_replace))
    monkeypatch.setattr(trial_storage.TrialLog, "append", append)
    monkeypatch.setattr(trial_storage.Plan, "from_dict", from_dict)
    counts = []
    for number in range(300):
        plan, name = plan_of(divmod(number % 25, 5)), f"{number:03}"  # type: ignore[arg-type]
        made[0] = written[0] = 0
        storage.open_reference(name, plan, 99)
        storage.add_score("reference", name, (10, 0, 5.0), 1.0)
        storage.add_score("reference", name, (10, 1, 5.0), 1.0)
        assert storage.outcome("reference", name).score == 5.0
        storage.outcomes()
        storage.end("reference", name, "pruned", "because")
        counts.append((made[0], written[0]))
    assert {count for count, _ in counts} == {4}
    sizes = [size for _, size in counts]
    assert max(sizes) - min(sizes) < 20  # of the time, whose digits differ
    assert read == [0]
