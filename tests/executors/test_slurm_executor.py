import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import RunError, UserError
from autoquant.executors import context as context_module
from autoquant.executors import submitit_engines
from autoquant.executors.context import SharedContext
from autoquant.executors.job_runner import run_jobs
from autoquant.executors.serial import SerialExecutor
from autoquant.executors.slurm_executor import SlurmExecutor
from tests.executors.engine_jobs import MATRIX, is_running, lost, run, until

pytest.importorskip("submitit")
pytestmark = pytest.mark.cluster


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[SlurmExecutor]:
    made = SlurmExecutor(tmp_path / "jobs", array=2, engine="local")
    yield made
    made.kill_workers()


def results_of(executor: SlurmExecutor, jobs: list[Any]) -> list[Any]:
    results: list[Any] = run_jobs(lambda: executor, run, MATRIX, jobs, lost=lost)
    return results


def test_results_are_those_of_one_process(executor: SlurmExecutor, tmp_path: Path) -> None:
    jobs = [("product", 0), ("threads", 0), ("product", 1)]
    results = results_of(executor, jobs)
    expected = run_jobs(SerialExecutor, run, MATRIX, [jobs[0], jobs[2]], lost=lost)
    assert torch.equal(results[0], expected[0])
    assert torch.equal(results[2], expected[1])
    assert results[1] == (1, "1")
    executor.shutdown()
    assert not (tmp_path / "jobs").exists()  # all files are removed


def test_a_job_that_dies(executor: SlurmExecutor, tmp_path: Path) -> None:
    jobs = [("die once", tmp_path / "died"), ("product", 0)]
    results = results_of(executor, jobs)
    assert results[0] == "lives"
    assert torch.equal(results[1], run(MATRIX, jobs[1]))
    (folder,) = (tmp_path / "jobs").iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".err", ".out"}  # of the one that died


def test_the_state_of_a_job_that_died_is_named(executor: SlurmExecutor, tmp_path: Path) -> None:
    future = SharedContext(run, MATRIX, tmp_path / "c").submit(executor, ("die", tmp_path / "x"))
    with pytest.raises(BrokenExecutor, match=r"ended without a result \(state FINISHED\); its log"):
        future.result(60)


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [
        pytest.param(("raise", "mine"), ArithmeticError, "mine", id="sent as it is"),
        pytest.param(("odd", 0), RuntimeError, "Odd: 1 and 2", id="cannot be sent"),
    ],
)
def test_errors_of_a_job_are_its_own(
    executor: SlurmExecutor, job: Any, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    error = SharedContext(run, MATRIX, tmp_path / "c").submit(executor, job).exception(60)
    assert (type(error), str(error)) == (kind, text)


def test_a_worker_that_differs_is_refused(
    executor: SlurmExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "current_versions", lambda: ("9.9", "3.0", "2.6"))
    with pytest.raises(RunError, match=r"^every worker must run Python 3\.0, got"):
        results_of(executor, [("product", 0)])


def test_cancel_and_kill(executor: SlurmExecutor, tmp_path: Path) -> None:
    shared = SharedContext(run, MATRIX, tmp_path / "context")
    futures = [shared.submit(executor, ("wait", tmp_path)) for _ in range(2)]
    began = until(lambda: len([*tmp_path.glob("began-*")]) == 2 and [*tmp_path.glob("began-*")])
    until(lambda: all(future.running() for future in futures))
    waiting = shared.submit(executor, ("die", tmp_path / "ran"))  # two run at the same time
    time.sleep(0.5)
    assert not waiting.running()
    assert waiting.cancel()
    executor.kill_workers()
    until(lambda: not any(is_running(int(path.name.partition("-")[2])) for path in began))
    for future in futures:
        with pytest.raises(BrokenExecutor, match="the job was cancelled"):
            future.result(10)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RuntimeError, match="has been shut down"):
        executor.submit(time.time)


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitit_engines.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"^cluster=slurm must run on a node with SLURM's commands"):
        SlurmExecutor(tmp_path)
