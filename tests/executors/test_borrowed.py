import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import RunError, UserError
from autoquant.executors.borrowed import adapted, check_takes_jobs
from autoquant.executors.job_runner import run_jobs
from autoquant.executors.serial import SerialExecutor
from tests.executors.engine_jobs import MATRIX, lost, run

PRODUCTS = [("product", seed) for seed in range(4)]


def pool_of(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with pool_of(1) as made:
        yield made


def test_results_are_those_of_one_process(pool: Executor) -> None:
    expected = run_jobs(SerialExecutor, run, MATRIX, PRODUCTS, lost=lost)
    for _ in range(2):  # the pool stays open
        results = run_jobs(lambda: adapted(pool, 1), run, MATRIX, PRODUCTS, lost=lost)
        for result, value in zip(results, expected, strict=True):
            assert torch.equal(result, value)
    assert pool.submit(os.getpid).result() != os.getpid()


def test_the_threads_are_set(pool: Executor) -> None:
    jobs = [("threads", 0)]
    assert run_jobs(lambda: adapted(pool, 2), run, MATRIX, jobs, lost=lost) == [(2, "2")]


def test_a_pool_that_broke_is_named_in_one_line(tmp_path: Path) -> None:
    with pool_of(1) as pool, pytest.raises(RunError) as caught:
        run_jobs(lambda: adapted(pool, 1), run, MATRIX, [("die", tmp_path / "x")], lost=lost)
    message = str(caught.value)
    assert message.startswith("a worker died, and a ProcessPoolExecutor takes no jobs after that: ")
    assert "make a new one and run again, which resumes, or use workers=N" in message


class NoFutures:
    """An executor whose jobs have no futures."""

    def submit(self, *args: Any) -> int:
        return 3

    def shutdown(self, wait: bool = True) -> None:
        pass


def shut_down() -> ProcessPoolExecutor:
    made = pool_of(1)
    made.shutdown()
    return made


class InAWorker(NoFutures):
    """What ``submit`` says where a worker runs the whole script again."""

    def submit(self, *args: Any) -> int:
        raise RuntimeError("\n  An attempt has been made ... its bootstrapping phase.\n ...")


@pytest.mark.parametrize(
    ("executor", "line"),
    [
        pytest.param(
            shut_down(),
            "executor must take jobs, got a ProcessPoolExecutor that does not: "
            "cannot schedule new futures after shutdown",
            id="shut down",
        ),
        pytest.param(NoFutures(), "executor.submit must return a future, got 3", id="no future"),
        pytest.param(
            InAWorker(),
            'a script that starts processes must search under if __name__ == "__main__":, '
            "got one without it: a worker runs it again",
            id="no guard",
        ),
    ],
)
def test_an_executor_that_takes_no_jobs(executor: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_takes_jobs(executor)
    assert str(caught.value) == line


def test_an_executor_that_takes_jobs_stays_open(pool: Executor) -> None:
    check_takes_jobs(pool)
    assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        pytest.param(3, "with submit and shutdown), got a int", id="no executor"),
        pytest.param(ProcessPoolExecutor, "got the class ProcessPoolExecutor", id="a class"),
        pytest.param(ThreadPoolExecutor(1), "in other processes, for jobs set", id="threads"),
    ],
)
def test_what_is_refused(executor: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        adapted(executor, 1)
    assert words in str(caught.value)
