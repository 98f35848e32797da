from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import UserError
from autoquant.executors.pickling import pickled
from autoquant.plan import LayerChoice, Plan
from autoquant.rounds.carried_files import CarriedFiles, SentJob
from autoquant.rounds.rungs import Rung
from autoquant.rounds.training_job import JobContext, run_job
from autoquant.settings import Search, Training
from autoquant.study.folder import Study
from autoquant.study.job import Job
from autoquant.training.candidate import StartingPoint
from autoquant.training.recognise import fingerprint_of
from tests.toys import language_task, prepared

RUNGS = (
    Rung("short", 5, Training(steps=5, scores=0)),
    Rung("medium", 10, Training(steps=10, scores=0)),
)


def toy(tokens: int = 400) -> Any:
    return language_task(
        10, tokens, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50
    )


def context(folder: Path, task: Any, **options: Any) -> JobContext:
    torch.manual_seed(0)
    model, network = prepared(task.build_model())
    settings = Search(threads=1, device="cpu", seed=3)
    point = StartingPoint(task, model, network, settings)
    study = Study(folder)
    study.trunks.mkdir(parents=True)
    return JobContext(point, RUNGS, study, **options)


def plan_of(context: JobContext) -> Plan:
    return Plan({name: LayerChoice(4, 8) for name in context.point.network.names})


def test_files_travel_with_a_job(tmp_path: Path) -> None:
    """Two rungs in one folder, and with the checkpoint carried, give the same scores and file."""
    here = context(tmp_path / "here", toy())
    jobs = [Job(plan_of(here), rung.steps) for rung in RUNGS]
    expected = [run_job(here, job).score for job in jobs]
    far = context(tmp_path / "far", toy())
    carried, scores = CarriedFiles(far), []
    for job in jobs:
        sent = carried.send(job)
        assert len(sent.files) == (job.steps == 10)
        back = CarriedFiles.run(replace(far, study=Study(tmp_path / "not there")), sent)
        scores.append(carried.receive(job, back).score)
    assert scores == expected
    name = here.study.trunk(jobs[0].plan, 0).name
    assert [*far.study.trunks.iterdir()] == [far.study.trunks / name]
    assert not (tmp_path / "not there").exists()


def test_without_its_checkpoint_a_job_starts_again(tmp_path: Path) -> None:
    here = context(tmp_path / "here", toy())
    job = Job(plan_of(here), 10)
    expected = run_job(here, job)
    assert CarriedFiles.run(here, SentJob(job, {})).result.score == expected.score
    assert expected.host
    assert expected.environment is not None
    assert expected.environment.threads == 1


def test_a_worker_with_other_data_is_refused(tmp_path: Path) -> None:
    task = toy()
    mine = context(tmp_path / "a", task)
    known = fingerprint_of(task, mine.point.model, 3)
    replace(mine, fingerprint=known).arrived()
    other = context(tmp_path / "b", toy(800), fingerprint=known)
    with pytest.raises(UserError, match=r"the data must be the same on \S+ as where the search"):
        other.arrived()


def test_other_processes_get_neither_bars_nor_callbacks(tmp_path: Path) -> None:
    point = context(tmp_path, toy()).point

    def on_step(step: object) -> None:
        """Cannot be pickled."""

    options: dict[str, Any] = {"progress": object(), "on_step": on_step}
    far = JobContext.of(point, RUNGS, Study(tmp_path), here=False, **options)
    pickled(far)
    here = JobContext.of(point, RUNGS, Study(tmp_path), here=True, **options)
    assert (far.on_step, here.on_step) == (None, on_step)
