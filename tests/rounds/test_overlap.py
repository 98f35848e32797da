"""Rounds that overlap: what is proposed depends neither on the order of results nor on stops."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rounds.samples import SETTINGS, Jobs, Sample, Stopped

OVERLAPPING = SETTINGS.changed(
    trials=10, rounds=replace(SETTINGS.rounds, size=2, overlap=True, finalists=2)
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A search in one process, without a stop."""
    sample = Sample(tmp_path_factory.mktemp("whole"), settings=OVERLAPPING)
    sample.search()
    return sample


def test_a_round_is_proposed_from_those_before_the_last(tmp_path: Path) -> None:
    class Watched(Sample):
        """Says at each start of a batch which trials have scores in the storage."""

    jobs = Jobs()
    sample = Watched(tmp_path, jobs, OVERLAPPING)
    seen: list[tuple[list[str], list[str]]] = []
    start = jobs.start

    def watched(batch, on_result):  # type: ignore[no-untyped-def]
        labels = sorted({job.label.split(",")[0] for job in batch})
        scored = [o.trial for o in sample.storage().outcomes() if o.by_order(10)]
        seen.append((labels, [name for name in scored if name.isdigit()]))
        return start(batch, on_result)

    jobs.start = watched  # type: ignore[method-assign]
    sample.search()
    proposals = [entry for entry in seen if entry[0] and entry[0][0] != "trial w2"][:5]
    assert proposals == [
        (["trial 0", "trial 1"], []),
        (["trial 2", "trial 3"], []),
        (["trial 4", "trial 5"], ["0", "1"]),
        (["trial 6", "trial 7"], ["0", "1", "2", "3"]),
        (["trial 8", "trial 9"], ["0", "1", "2", "3", "4", "5"]),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_results_in_any_order_give_the_same_trials(
    seed: int, whole: Sample, tmp_path: Path
) -> None:
    sample = Sample(tmp_path, Jobs(workers=random.Random(seed)), OVERLAPPING)
    assert sample.search() == whole.search()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.55, 0.7, 0.95])
def test_a_stop_changes_nothing(share: float, seed: int, whole: Sample, tmp_path: Path) -> None:
    jobs = Jobs(stop=round(share * len(whole.jobs.run)), workers=random.Random(seed))
    sample = Sample(tmp_path, jobs, OVERLAPPING)
    with pytest.raises(Stopped):
        sample.search()
    jobs.stop = None
    assert sample.search() == whole.search()
    assert len({*jobs.run}) == len(jobs.run)  # no job ran twice


def test_failures_end_their_trials(whole: Sample, tmp_path: Path) -> None:
    failures = {"trial 3": "the loss is not finite"}
    expected = Sample(tmp_path / "a", Jobs(failures=failures), OVERLAPPING)
    mixed = Sample(tmp_path / "b", Jobs(failures=failures, workers=random.Random(0)), OVERLAPPING)
    for sample in (expected, mixed):
        sample.folder.mkdir()
    found = expected.search()
    assert {o.trial: o.state for o in found}["3"] == "diverged"
    assert mixed.search() == found
