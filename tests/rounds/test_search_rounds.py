"""Rounds with jobs that are computed instead of trained: what is trained where, and every stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import BaseSampler

from autoquant.plan import Plan
from autoquant.rounds.rungs import Rung
from autoquant.rounds.search_rounds import NOT_PROMOTED
from autoquant.study.outcome import Outcome
from autoquant.study.trial_storage import TrialStorage
from tests.rounds.samples import (
    BUDGETS,
    FULL,
    MEDIUM,
    SETTINGS,
    SHORT,
    Jobs,
    Sample,
    Stopped,
    noise,
    score_of,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A search without a stop."""
    sample = Sample(tmp_path_factory.mktemp("whole"))
    sample.search()
    return sample


def outcomes(sample: Sample) -> list[Outcome]:
    return [o for o in sample.search() if o.role == "search"]


def scored_on(outcome: Outcome) -> dict[int, int]:
    """Number of data orders by rung."""
    return {steps: len(outcome.by_order(steps)) for steps, _ in outcome.history}


def test_what_is_trained_on_which_rung(whole: Sample) -> None:
    found = whole.search()
    assert [o.trial for o in found] == ["w8", "w2", "0", "1", "2", "3", "4", "5"]
    assert [scored_on(o) for o in found[:2]] == [{10: 3}, {10: 1}]
    for first in found[2:4]:  # of each budget
        assert scored_on(first) == {10: 3, 40: 1, 100: 3}
    for outcome in found[4:]:
        assert outcome.by_order(10).keys() == {0}
        assert (outcome.state == "pruned") == (outcome.steps < 100)
        assert outcome.reason == (NOT_PROMOTED if outcome.state == "pruned" else "")
    assert "pruned" in {o.state for o in found}
    assert {len(o.by_order(100)) for o in found[2:] if o.state == "complete"} <= {1, 3}


def turned(plan: Plan, steps: int, order: int) -> float:
    """The last rung ranks plans in the opposite order of the short one."""
    loss = score_of(plan, 10, order) - 1
    return 1 + (0.1 / loss if steps == FULL.steps else loss)


def test_the_last_rung_chooses_the_finalists(tmp_path: Path) -> None:
    rounds = replace(SETTINGS.rounds, finalists=2, promoted=1.0)
    settings = SETTINGS.changed(rounds=rounds, trials=9)
    found = outcomes(Sample(tmp_path, Jobs(scored=turned), settings, (SHORT, FULL)))
    trained = [o for o in found if o.by_order(100)]
    assert len(trained) > 4
    for first, budget in zip(found, BUDGETS, strict=False):
        within = [o for o in trained if o.size_bytes <= budget]
        best = min((o for o in within if o is not first), key=lambda o: o.by_order(100)[0])
        assert len(first.by_order(100)) == len(best.by_order(100)) == 3
    assert len([o for o in trained if len(o.by_order(100)) == 3]) <= 4


def test_the_plans_fit_their_sizes_and_differ(whole: Sample) -> None:
    found = outcomes(whole)
    assert all(o.size_bytes <= BUDGETS[0] for o in found)
    assert found[1].size_bytes <= BUDGETS[1] < found[0].size_bytes
    assert len({o.plan for o in found}) == len(found) == SETTINGS.trials


def test_scores_are_those_of_the_jobs(whole: Sample) -> None:
    for outcome in whole.search():
        for steps, order, score in outcome.scores:
            assert score == score_of(outcome.plan, steps, order)
        assert outcome.score == pytest.approx(outcome.history[-1][1])


def test_a_second_call_does_nothing(whole: Sample) -> None:
    before, jobs, told = whole.search(), len(whole.jobs.run), len(whole.told)
    assert whole.search() == before
    assert (len(whole.jobs.run), len(whole.told)) == (jobs, told)


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "as workers may end"])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.65, 0.8, 0.95])
def test_a_stop_changes_nothing(share: float, reverse: bool, whole: Sample, tmp_path: Path) -> None:
    jobs = Jobs(stop=round(share * len(whole.jobs.run)), reverse=reverse)
    sample = Sample(tmp_path, jobs)
    with pytest.raises(Stopped):
        sample.search()
    jobs.stop = None
    assert sample.search() == whole.search()
    assert len(jobs.run) == len(set(jobs.run))
    assert set(jobs.run) == set(whole.jobs.run)


RUNGS = {"short": (SHORT,), "no full": (SHORT, MEDIUM), "no medium": (SHORT, FULL)}


@pytest.mark.parametrize("rungs", RUNGS.values(), ids=RUNGS)
def test_a_stop_on_the_last_of_other_rungs(rungs: tuple[Rung, ...], tmp_path: Path) -> None:
    whole = Sample(tmp_path / "whole", rungs=rungs)
    stopped = Sample(tmp_path / "stopped", Jobs(stop=14), rungs=rungs)
    for sample in (whole, stopped):
        sample.folder.mkdir()
    expected = whole.search()
    with pytest.raises(Stopped):
        stopped.search()
    stopped.jobs.stop = None
    assert stopped.search() == expected
    assert set(stopped.jobs.run) == set(whole.jobs.run)
    best = [o for o in expected if o.state == "complete" and o.role == "search"]
    assert {o.steps for o in best} == {rungs[-1].steps}


@pytest.mark.parametrize("at", [1, 4], ids=["in the first round", "in the second round"])
def test_a_kill_while_a_plan_is_asked_for(
    at: int, whole: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not been recorded: the same plan is proposed again."""
    calls, real = [0], TrialStorage.ask

    def ask(self: TrialStorage, sampler: BaseSampler, size_of: Callable[[Plan], int]) -> Any:
        def stopped(plan: Plan) -> int:
            raise Stopped

        calls[0] += 1
        return real(self, sampler, stopped if calls[0] == at + 1 else size_of)

    sample = Sample(tmp_path)
    monkeypatch.setattr(TrialStorage, "ask", ask)
    with pytest.raises(Stopped):
        sample.search()
    monkeypatch.undo()
    plans = [(o.plan, o.score) for o in outcomes(sample)]
    assert plans == [(o.plan, o.score) for o in outcomes(whole)]
    assert {*sample.jobs.run} == {*whole.jobs.run}


def test_more_trials_go_on(whole: Sample, tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    first = sample.search(trials=3)
    again = sample.search(trials=6)
    assert again[: len(first)] == first
    assert [o.plan for o in again] == [o.plan for o in whole.search()]
    assert len(sample.jobs.run) == len(set(sample.jobs.run))
    assert {o.state for o in again} <= {"complete", "pruned"}
    assert sample.search(trials=2) == again


def test_more_trials_of_a_stopped_search(tmp_path: Path) -> None:
    sample = Sample(tmp_path, Jobs(stop=20))
    with pytest.raises(Stopped):
        sample.search(trials=3)
    sample.jobs.stop = None
    found = sample.search(trials=6)
    assert len(sample.jobs.run) == len(set(sample.jobs.run))
    assert {o.state for o in found} <= {"complete", "pruned"}


FAILURES = {"trial 2": [], "trial 0, data order 1": [10], "trial 1": [10]}


@pytest.mark.parametrize("label", FAILURES)
def test_a_job_that_diverges_ends_its_trial(label: str, tmp_path: Path) -> None:
    name = label.split()[1].rstrip(",")
    found = []
    for folder, reverse in (("a", False), ("b", True)):
        (tmp_path / folder).mkdir()
        sample = Sample(tmp_path / folder, Jobs(reverse=reverse, failures={label: "nan"}))
        found.append(sample.search())
        before, told = len(sample.jobs.run), sample.told.copy()
        assert sample.search() == found[-1]
        assert (len(sample.jobs.run), sample.told) == (before, told)
        assert told.count((name, "diverged")) == 1
    (ended,) = (o for o in found[0] if o.trial == name)
    assert (ended.state, ended.reason) == ("diverged", "nan")
    assert [*scored_on(ended)] == FAILURES[label]
    assert found[0] == found[1]
    others = [o for o in found[0] if o.trial != name]
    assert {o.state for o in others} <= {"complete", "pruned"}


def test_a_reference_that_diverges(tmp_path: Path) -> None:
    sample = Sample(tmp_path, Jobs(failures={"trial w8": "nan"}))
    found = sample.search()
    assert [o.state for o in found[:2]] == ["diverged", "complete"]
    before = len(sample.jobs.run), len(sample.told)
    assert sample.search() == found
    assert (len(sample.jobs.run), len(sample.told)) == before


def level(plan: Plan, steps: int, order: int) -> float:
    """Bits make no difference."""
    return 1 + 0.01 * noise(plan.digest, steps, order)


def test_a_search_with_nothing_to_gain_stops_early(tmp_path: Path) -> None:
    sample = Sample(tmp_path, Jobs(scored=level))
    found = outcomes(sample)
    assert len(found) == SETTINGS.rounds.size < SETTINGS.trials
    gain, *going_on = sample.said
    assert gain.startswith("nothing can be gained by more proposals: the first plan's")
    assert going_on[-1] == "3 of 3 trials go on to 100 steps: 0, 1, 2"
    assert outcomes(sample) == found


def test_a_training_that_does_not_suit_is_named(whole: Sample) -> None:
    assert whole.said[0].startswith("8 bits everywhere score 1.09")
    assert "the training does not suit; try qat.lr=auto final.lr=auto" in whole.said[0]
    assert whole.said[0].endswith("(qat.lr is 0.001)")


def test_a_bound_is_approached_from_both_sides(tmp_path: Path) -> None:
    sample = Sample(tmp_path, bound=1.2, settings=SETTINGS.changed(trials=9))
    known = [o for o in outcomes(sample) if o.by_order(40)]
    finalists = [o for o in known if len(o.by_order(100)) == 3]
    within = sorted((o for o in known if o.by_order(40)[0] <= 1.2), key=lambda o: o.size_bytes)
    above = sorted((o for o in known if o.by_order(40)[0] > 1.2), key=lambda o: o.by_order(40)[0])
    assert {within[0].trial, above[0].trial} <= {o.trial for o in finalists}
