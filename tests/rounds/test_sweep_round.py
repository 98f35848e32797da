"""The runs of a sweep as jobs, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from autoquant.costs.size import size
from autoquant.plan import LayerChoice
from autoquant.rounds.sweep_round import SweepRound, sweep_rung
from autoquant.settings import Scheme, Search, Sweep, Training
from autoquant.space.search_space import uniform_plan
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.sweep_table import SweepRun, SweepRunResult, SweepTable
from tests.rounds.samples import network, space

FLOAT_BYTES = 4000
PLAN = uniform_plan(space(), network(), LayerChoice(4, 8))
NARROW, WIDE = SweepRun("narrow", PLAN, 0, "baseline"), SweepRun("again", PLAN, 0, "baseline")
SEEDED = SweepRun("seeded", PLAN, 7, "scratch")
TOO_LARGE = SweepRun("small", None, 0, "baseline", None, 8, 1.0, "0.01x")


@pytest.mark.parametrize(("init_from", "steps"), [("baseline", 6), ("scratch", 30)])
def test_the_rung_of_a_sweep(init_from: str, steps: int) -> None:
    settings = Search(baseline=Training(epochs=3.0), final=Training(steps=6))
    rung = sweep_rung(settings, Sweep(init_from=init_from), steps_per_epoch=10)
    assert (rung.steps, rung.whole) == (steps, True)
    assert rung.training == (settings.final if init_from == "baseline" else settings.baseline)


class Round:
    """A round whose jobs are computed.

    Args:
        path: of the study.
        reverse: whether jobs end in reverse order.
    """

    def __init__(self, path: Path, *, reverse: bool = False) -> None:
        self.study, self.reverse = Study(path), reverse
        self.table = SweepTable.of(self.study)
        self.jobs: list[Job] = []
        self.told: list[SweepRunResult] = []

    def run(self, *runs: SweepRun) -> dict[str, SweepRunResult]:
        SweepRound(self.study, network(), space(), Scheme(), FLOAT_BYTES, self.told.append).run(
            runs, 6, self._run_jobs
        )
        return self.table.by_name()

    def _run_jobs(self, jobs: Sequence[Job], ended: Callable[[Job, JobResult], None]) -> None:
        self.jobs += jobs
        for job in reversed(jobs) if self.reverse else jobs:
            if job.seed == 7:
                ended(job, JobResult(job, "diverged", seconds=1.0, reason="nan"))
            else:
                ended(job, JobResult(job, "complete", 2.5, 2.75, seconds=1.0))


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "as workers may end"])
def test_runs_are_recorded_with_their_costs(reverse: bool, tmp_path: Path) -> None:
    made = Round(tmp_path, reverse=reverse)
    found = made.run(NARROW, SEEDED, TOO_LARGE, WIDE)
    expected = int(size.of(network(), PLAN, Scheme()))
    for name in ("narrow", "again"):
        result = found[name]
        assert (result.state, result.valid, result.test, result.steps) == ("complete", 2.5, 2.75, 6)
        assert (result.size_bytes, result.size_share) == (expected, expected / FLOAT_BYTES)
    diverged = found["seeded"]
    assert (diverged.state, diverged.valid, diverged.steps) == ("diverged", None, 0)
    assert (diverged.size_bytes, diverged.reason) == (expected, "nan")
    assert (found["small"].state, found["small"].size_bytes) == ("too large", None)
    assert found["small"].reason.startswith("the budget must be at least ")
    assert {result.run.name for result in made.told} == {*found}
    assert [(job.label, job.seed, job.init_from) for job in made.jobs] == [
        ("narrow", 0, "baseline"),
        ("seeded", 7, "scratch"),
    ]


def test_what_is_in_the_table_is_not_trained(tmp_path: Path) -> None:
    Round(tmp_path).run(NARROW, TOO_LARGE)
    again = Round(tmp_path)
    assert [*again.run(NARROW, SEEDED, TOO_LARGE)] == ["small", "narrow", "seeded"]
    assert [job.label for job in again.jobs] == ["seeded"]
    assert [result.run for result in again.told] == [SEEDED]
