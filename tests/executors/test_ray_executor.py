import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import RunError, UserError
from autoquant.executors import context as context_module
from autoquant.executors.context import SharedContext
from autoquant.executors.job_runner import JobRunner, run_jobs
from autoquant.executors.ray_executor import RayExecutor, _translated
from autoquant.executors.serial import SerialExecutor
from autoquant.executors.versions import current_versions
from tests.executors.engine_jobs import MATRIX, Counted, is_running, lost, run, until

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
STORE = {"object_store_memory": 80_000_000}
HERE = current_versions()
PRODUCTS = [("product", seed) for seed in range(6)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU, as processes of this machine."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, **STORE}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, **STORE)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Iterator[RayExecutor]:
    made = RayExecutor(cluster.address)
    yield made
    made.kill_workers()
    made.shutdown()


class Lent:
    """An executor that is not shut down.

    Args:
        executor: that runs the jobs.
    """

    def __init__(self, executor: RayExecutor) -> None:
        self.submit, self.put = executor.submit, executor.put

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...


def results_of(executor: RayExecutor, jobs: list[Any], context: Any = MATRIX) -> list[Any]:
    return run_jobs(lambda: Lent(executor), run, context, jobs, lost=lost)  # type: ignore


def test_results_are_those_of_one_process(executor: RayExecutor) -> None:
    expected = run_jobs(SerialExecutor, run, MATRIX, PRODUCTS, lost=lost)
    for result, value in zip(results_of(executor, PRODUCTS), expected, strict=True):
        assert torch.equal(result, value)
    assert results_of(executor, [("threads", 0)]) == [(1, "1")]
    assert executor.workers == 2


def test_errors_of_a_job_are_its_own(executor: RayExecutor) -> None:
    with pytest.raises(ArithmeticError, match=r"^mine\b") as caught:
        results_of(executor, [("raise", "mine")])
    assert type(caught.value) is ArithmeticError
    with pytest.raises(RuntimeError, match=r"^Odd: 1 and 2\b"):
        results_of(executor, [("odd", 0)])


def test_a_worker_that_dies(executor: RayExecutor, tmp_path: Path) -> None:
    jobs = [("die once", tmp_path / "died"), ("product", 0), ("die", tmp_path / "dies")]
    results = results_of(executor, jobs)
    assert results[0] == "lives"
    assert torch.equal(results[1], run(MATRIX, jobs[1]))
    assert results[2].startswith("its worker died 3 times: The worker died unexpectedly")


def test_a_process_reads_the_context_once(executor: RayExecutor, tmp_path: Path) -> None:
    jobs = [("process", number) for number in range(12)]
    processes = results_of(executor, jobs, Counted(tmp_path, MATRIX))
    read = [int(path.name.partition("-")[0]) for path in tmp_path.iterdir()]
    assert sorted(read) == sorted({*processes, *read})
    assert set(processes) <= set(read)


def test_a_worker_that_differs_is_refused(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "current_versions", lambda: ("9.9", *HERE[1:]))
    with pytest.raises(RunError, match=r"^every worker must have autoquant 9\.9, got"):
        results_of(executor, PRODUCTS)


def test_a_module_that_workers_lack(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("of_the_driver")
    exec("class Task: pass", vars(module))
    monkeypatch.setitem(sys.modules, "of_the_driver", module)
    with pytest.raises(RunError, match="must have the module 'of_the_driver', which the"):
        results_of(executor, PRODUCTS, module.Task())


def test_cancelled_tasks_do_not_run(executor: RayExecutor, tmp_path: Path) -> None:
    shared = SharedContext(run, MATRIX, tmp_path / "none")
    first = [shared.submit(executor, ("wait", tmp_path)) for _ in range(2)]
    until(lambda: len([*tmp_path.glob("began-*")]) == 2)
    waiting = shared.submit(executor, ("die", tmp_path / "ran"))
    assert [each.running() for each in (*first, waiting)] == [True, True, False]
    assert waiting.cancel()
    (tmp_path / "go").touch()
    assert {each.result(60) for each in first}
    assert results_of(executor, [("product", 0)])
    assert not (tmp_path / "ran").exists()
    assert waiting.cancelled()


def test_kill_ends_running_tasks(cluster: Any, executor: RayExecutor, tmp_path: Path) -> None:
    other = RayExecutor(cluster.address)  # on the connection of the first
    shared = SharedContext(run, MATRIX, tmp_path / "none")
    futures = [shared.submit(other, ("wait", tmp_path)) for _ in range(3)]
    began = until(lambda: [*tmp_path.glob("began-*")])
    other.kill_workers()
    other.shutdown(wait=False, cancel_futures=True)
    processes = [int(path.name.partition("-")[2]) for path in began]
    until(lambda: not any(map(is_running, processes)))
    for future in futures:
        with pytest.raises((CancelledError, BrokenExecutor)):
            future.result(60)
    assert ray.is_initialized()
    with pytest.raises(RuntimeError, match="has been shut down"):
        other.submit(os.getpid)


def test_a_node_that_dies(cluster: Any, executor: RayExecutor, tmp_path: Path) -> None:
    """Its jobs run on the other one, and the results are the same."""
    node = cluster.add_node(num_cpus=1, **STORE)
    until(lambda: sum(each["Alive"] for each in ray.nodes()) == 3)
    ended: list[Any] = []

    def kill(job: Any, result: Any) -> None:
        ended.append(job)
        if len(ended) == 1:
            cluster.remove_node(node, allow_graceful=False)

    jobs = [("slow product", seed) for seed in range(8)]
    with JobRunner(lambda: Lent(executor), slow, MATRIX, lost=lost) as runner:  # type: ignore
        results = runner.run(jobs, kill)
    for result, (_, seed) in zip(results, jobs, strict=True):
        assert torch.equal(result, run(MATRIX, ("product", seed)))


def slow(context: Any, job: tuple[str, int]) -> Any:
    time.sleep(0.5)
    return run(context, ("product", job[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"cpus": 64},
            "a training must fit on a node of the Ray cluster (cluster.cpus, cluster.gpus, "
            "cluster.memory), got 64 CPUs and 0 GPUs; the largest "
            "node has 1 CPUs and 0 GPUs",
            id="more CPUs than a node has",
        ),
        pytest.param(
            {"cpus": 0}, "a training must need a CPU or a GPU, got cpus=0, gpus=0", id="0"
        ),
        pytest.param(
            {"gpus": 1.5}, "cluster.gpus above 1 must be a whole number, got 1.5", id="fraction"
        ),
    ],
)
def test_tasks_that_no_node_can_run(
    options: dict[str, Any], message: str, executor: RayExecutor
) -> None:
    with pytest.raises(UserError) as caught:
        RayExecutor(**options)
    assert str(caught.value) == message


def test_errors_of_the_engine() -> None:
    errors = ray.exceptions
    for error in (
        errors.NodeDiedError("x"),
        errors.OutOfMemoryError("x"),
        errors.WorkerCrashedError(),
        errors.OwnerDiedError("x", None, ""),
        errors.RayTaskError("f", "", errors.ObjectLostError("x", None, "")),
    ):
        assert type(_translated(error, errors)) is BrokenExecutor, error
    text = "ray::f() (pid=7, ip=10.0.0.7)\nNo module named 'autoquant'"
    error = errors.RayTaskError("f", text, RuntimeError(text), ip="10.0.0.7")
    for each in (error, error.as_instanceof_cause()):
        refused = str(_translated(each, errors))
        assert refused.startswith("every worker must have autoquant ")
        assert ", got none on 10.0.0.7: install it on every node" in refused
    assert type(_translated(errors.RuntimeEnvSetupError("x"), errors)) is RunError
    assert type(_translated(errors.TaskCancelledError(), errors)) is CancelledError


SCRIPT = """
    import os, sys
    from autoquant.executors.job_runner import run_jobs
    from autoquant.executors.ray_executor import RayExecutor

    def square(context, job):  # of the main module
        print("of a worker")
        if job == 2 and not os.path.exists(context):
            open(context, "w").close()
            os._exit(1)
        return job * job

    if __name__ == "__main__":
        make = lambda: RayExecutor(sys.argv[1])
        assert run_jobs(make, square, sys.argv[2], [1, 2, 3], lost=None) == [1, 4, 9]
        import ray
        assert not ray.is_initialized()
        try:
            RayExecutor("127.0.0.1:9")
        except ValueError as error:
            print(error)
"""


def test_a_program_connects_and_disconnects_quietly(cluster: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, script, cluster.address, tmp_path / "died"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cluster.address must be that of a Ray cluster (start one: ray ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
