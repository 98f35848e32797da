import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autoquant.executors.job_runner import CONTEXT_NAME, MAX_DEATHS, JobRunner, run_jobs
from autoquant.executors.serial import SerialExecutor

Executors = Callable[[], Executor]


def times(context: int, job: int) -> int:
    return context * job


def lost(job: int, reason: str) -> Any:
    return job, reason


class InOtherMemory(SerialExecutor):
    """Calls here what a worker would call."""

    shares_memory = False


class Threads(ThreadPoolExecutor):
    shares_memory = True


def threads() -> Executor:
    return Threads(3)


class Deadly(SerialExecutor):
    """Breaks at some submissions of some jobs, as a process that dies.

    Args:
        deaths: by job, how often it kills its worker.
        whole: whether the executor itself is broken then, with all that was submitted.
    """

    def __init__(self, deaths: dict[int, int], whole: bool = False) -> None:
        self.deaths, self.whole, self.broken = deaths, whole, False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = args[-1]
        if self.broken:
            raise BrokenExecutor("a worker died before")
        if not self.deaths.get(job):
            return super().submit(fn, *args, **kwargs)
        self.deaths[job] -= 1
        self.broken = self.whole
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("a worker died\nabruptly"))
        return future


@pytest.mark.parametrize("make_executor", [SerialExecutor, threads])
def test_results_are_in_the_order_of_the_jobs(make_executor: Executors) -> None:
    assert run_jobs(make_executor, times, 3, [5, 1, 4], lost=lost) == [15, 3, 12]
    assert run_jobs(make_executor, times, 3, [], lost=lost) == []


def test_on_result_is_called_as_jobs_end() -> None:
    last_may_end = threading.Event()
    calls: list[tuple[int, int]] = []

    def waits(context: int, job: int) -> int:
        if job == 0:
            last_may_end.wait(10)
        return -job

    def on_result(job: int, result: int) -> None:
        calls.append((job, result))
        if len(calls) == 2:
            last_may_end.set()

    assert run_jobs(threads, waits, 0, [0, 1, 2], lost=lost, on_result=on_result) == [0, -1, -2]
    assert sorted(calls[:2]) == [(1, -1), (2, -2)]
    assert calls[2] == (0, 0)


def test_serial_jobs_are_reported_one_by_one() -> None:
    events: list[str] = []

    def function(context: int, job: int) -> None:
        events.append(f"run {job}")

    def on_result(job: int, result: None) -> None:
        events.append(f"ended {job}")

    run_jobs(SerialExecutor, function, 0, [1, 2], lost=lost, on_result=on_result)
    assert events == ["run 1", "ended 1", "run 2", "ended 2"]


@pytest.mark.parametrize("whole", [False, True], ids=["one worker dies", "all die"])
@pytest.mark.parametrize("deaths", range(MAX_DEATHS))
def test_a_job_whose_worker_died_runs_again(deaths: int, whole: bool) -> None:
    left = {2: deaths}
    made: list[Executor] = []

    def make_executor() -> Executor:
        made.append(Deadly(left, whole))
        return made[-1]

    assert run_jobs(make_executor, times, 2, [1, 2, 3], lost=lost) == [2, 4, 6]
    assert left == {2: 0}
    assert len(made) == 1 + deaths * whole


def test_a_job_whose_worker_always_dies_is_lost() -> None:
    ended: list[Any] = []
    results = run_jobs(
        lambda: Deadly({2: 100}),
        times,
        2,
        [1, 2, 3],
        lost=lost,
        on_result=lambda job, result: ended.append(job),
    )
    reason = "its worker died 3 times: a worker died"
    assert results == [2, (2, reason), 6]
    assert ended == [1, 3, 2]  # its last run came after all others


class WithPool(Threads):
    """All that runs breaks when one job does, as in a ProcessPoolExecutor."""

    def __init__(self) -> None:
        super().__init__(4)
        self.broken = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken.is_set():
            raise BrokenExecutor
        return super().submit(self._run, fn, args)

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if args[-1] == 2:
            time.sleep(0.02)
            self.broken.set()
        elif not self.broken.wait(0.05):
            return fn(*args)
        raise BrokenExecutor


def test_a_deadly_job_does_not_take_others_along() -> None:
    results = run_jobs(WithPool, times, 2, [1, 2, 3, 4], lost=lost)
    assert [results[0], *results[2:]] == [2, 6, 8]
    assert results[1][0] == 2


def test_an_error_ends_the_batch_with_a_note() -> None:
    may_start = threading.Event()
    ran: list[int] = []

    def function(context: int, job: int) -> None:
        ran.append(job)
        if job == 0:
            may_start.wait(10)
            raise ArithmeticError("of the job")
        may_start.set()
        time.sleep(0.05)

    jobs = [*range(50)]
    with pytest.raises(ArithmeticError, match="of the job") as caught:
        run_jobs(lambda: Threads(2), function, 0, jobs, lost=lost)
    assert caught.value.__notes__ == ["in the job 0"]
    assert len(ran) < 10


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_on_result_raises_ends_the_batch(error: type[BaseException]) -> None:
    ran: list[int] = []

    def function(context: int, job: int) -> None:
        ran.append(job)

    def on_result(job: int, result: None) -> None:
        raise error

    with pytest.raises(error):
        run_jobs(SerialExecutor, function, 0, [1, 2, 3], lost=lost, on_result=on_result)
    assert ran == [1]


def test_the_executor_is_kept_for_several_batches(tmp_path: Path) -> None:
    made: list[Executor] = []

    def make_executor() -> Executor:
        made.append(InOtherMemory())
        return made[-1]

    with JobRunner(make_executor, times, 3, lost=lost, folder=tmp_path) as runner:
        assert made == []
        assert runner.run([1]) == [3]
        written = (tmp_path / CONTEXT_NAME).stat().st_mtime_ns
        assert runner.run([2]) == [6]
        assert (tmp_path / CONTEXT_NAME).stat().st_mtime_ns == written
    assert len(made) == 1
    assert [*tmp_path.iterdir()] == []


def test_in_this_process_the_context_is_not_pickled(tmp_path: Path) -> None:
    context = threading.Lock()
    with JobRunner(
        SerialExecutor, lambda value, job: value, context, lost=lost, folder=tmp_path
    ) as runner:
        assert runner.run([0])[0] is context
        assert [*tmp_path.iterdir()] == []


def test_it_is_told_which_jobs_run_elsewhere() -> None:
    """From when a job is seen to run until it has ended."""
    events: list[str] = []
    release = threading.Event()

    @contextmanager
    def running(job: int) -> Any:
        events.append(f"{job} runs")
        if len(events) == 2:
            release.set()
        yield
        events.append(f"{job} ended")

    def wait(context: None, job: int) -> int:
        assert release.wait(20)
        return job

    options: dict[str, Any] = {"lost": lost, "running": running}
    with JobRunner(lambda: Threads(2), wait, None, **options) as runner:
        assert runner.run([1, 2]) == [1, 2]
    assert events[:2] == ["1 runs", "2 runs"]
    assert sorted(events[2:]) == ["1 ended", "2 ended"]
    with JobRunner(SerialExecutor, times, 3, **options) as serial:
        assert serial.run([1, 2]) == [3, 6]
    assert len(events) == 4  # jobs of this process show bars of their own


def test_a_batch_that_fails_leaves_no_job_running() -> None:
    open_blocks: set[int] = set()

    @contextmanager
    def running(job: int) -> Any:
        open_blocks.add(job)
        yield
        open_blocks.remove(job)

    def fail(context: None, job: int) -> int:
        time.sleep(0.1)
        if job == 1:
            raise ValueError("mine")
        time.sleep(0.2)
        return job

    options: dict[str, Any] = {"lost": lost, "running": running}
    runner = JobRunner(lambda: Threads(2), fail, None, **options)
    with pytest.raises(ValueError, match="mine"), runner:
        runner.run([1, 2])
    assert not open_blocks
