from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import RunError, UserError
from autoquant.executors import context as context_module
from autoquant.executors.borrowed import adapted
from autoquant.executors.context import SharedContext
from autoquant.executors.dask_executor import DaskExecutor
from autoquant.executors.job_runner import run_jobs
from autoquant.executors.serial import SerialExecutor
from tests.executors.engine_jobs import MATRIX, Counted, is_running, lost, run, until

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.cluster

PRODUCTS = [("product", seed) for seed in range(6)]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of two processes."""
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as made:
        yield made


def results_of(client: Any, jobs: list[Any], context: Any = MATRIX) -> list[Any]:
    make = lambda: adapted(client.get_executor(), 1)  # noqa: E731
    return run_jobs(make, run, context, jobs, lost=lost)


def allowed_failures(client: Any) -> Any:
    return client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)


def test_results_are_those_of_one_process(client: Any) -> None:
    before = allowed_failures(client)
    expected = run_jobs(SerialExecutor, run, MATRIX, PRODUCTS, lost=lost)
    for result, value in zip(results_of(client, PRODUCTS), expected, strict=True):
        assert torch.equal(result, value)
    assert results_of(client, [("threads", 0)]) == [(1, "1")]
    assert allowed_failures(client) == before


def test_errors_of_a_job_are_its_own(client: Any) -> None:
    with pytest.raises(ArithmeticError, match=r"^mine\b"):
        results_of(client, [("raise", "mine")])
    with pytest.raises(RuntimeError, match=r"^Odd: 1 and 2\b"):
        results_of(client, [("odd", 0)])


def test_a_process_reads_the_context_once(client: Any, tmp_path: Path) -> None:
    processes = results_of(client, [("process", n) for n in range(8)], Counted(tmp_path, MATRIX))
    read = [int(path.name.partition("-")[0]) for path in tmp_path.iterdir()]
    assert len(read) == len(set(read))
    assert set(processes) == set(read)


def test_a_worker_that_dies(client: Any, tmp_path: Path) -> None:
    jobs = [("die once", tmp_path / "died"), ("product", 0)]
    results = results_of(client, jobs)
    assert results[0] == "lives"
    assert torch.equal(results[1], run(MATRIX, jobs[1]))


def test_a_job_whose_workers_always_die(client: Any, tmp_path: Path) -> None:
    """Alone: a death counts for what waits on that worker too."""
    (result,) = results_of(client, [("die", tmp_path / "dies")])
    assert result.startswith("its worker died 3 times: ")


def test_a_worker_that_differs_is_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "current_versions", lambda: ("9.9", "3.0", "2.6"))
    with pytest.raises(RunError, match=r"^every worker must run Python 3\.0, got"):
        results_of(client, PRODUCTS)


def test_kill_ends_running_jobs(client: Any, tmp_path: Path) -> None:
    executor: Any = adapted(client.get_executor(), 1)
    assert isinstance(executor, DaskExecutor)
    until(lambda: executor.workers == 2)  # a nanny may still start one that died
    shared = SharedContext(run, MATRIX, tmp_path / "none")
    futures = [shared.submit(executor, ("wait", tmp_path)) for _ in range(3)]
    began = until(lambda: [*tmp_path.glob("began-*")])
    executor.kill_workers()
    executor.shutdown(wait=False, cancel_futures=True)
    until(lambda: not any(is_running(int(path.name.partition("-")[2])) for path in began))
    assert all(future.cancelled() for future in futures)


def test_workers_with_several_threads_are_refused() -> None:
    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(UserError, match=r"^each Dask worker must have one thread, .*, got 2 at "),
    ):
        adapted(client.get_executor(), 1)


def test_a_client_that_is_closed_is_refused(client: Any) -> None:
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        executor = other.get_executor()
    with pytest.raises(UserError, match="must be connected, got one that is closed"):
        adapted(executor, 1)
