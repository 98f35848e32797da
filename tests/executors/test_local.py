import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.executors.job_runner import JobRunner, run_jobs
from autoquant.executors.local import LocalExecutor
from autoquant.executors.serial import SerialExecutor

ROOT = Path(__file__).parents[2]


class Odd(Exception):
    """An error that a pickle does not bring back."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def train(context: torch.Tensor, job: tuple[str, Any]) -> Any:
    """A job of some kind.

    Args:
        context: a matrix.
        job: its kind, and an argument.
    """
    kind, argument = job
    if kind == "product":
        torch.manual_seed(argument)
        return torch.randn(5, len(context)) @ context
    if kind == "threads":
        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]
    if kind == "die once" and not Path(argument).exists():
        Path(argument).touch()
    elif kind != "die":
        return os.getpid()
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def fail(context: torch.Tensor, job: tuple[str, Any]) -> None:
    """Raise what a pickle does not bring back."""
    raise Odd(1, 2)


def local() -> LocalExecutor:
    return LocalExecutor(2, 1)


def lost(job: Any, reason: str) -> Any:
    return reason


MATRIX = torch.arange(12.0).view(4, 3)


@pytest.fixture(scope="module")
def runner() -> Iterator[JobRunner[torch.Tensor, Any, Any]]:
    with JobRunner(local, train, MATRIX, lost=lost) as runner:
        yield runner


def test_results_are_those_of_one_process(runner: JobRunner[torch.Tensor, Any, Any]) -> None:
    jobs = [("product", seed) for seed in range(6)]
    expected = run_jobs(SerialExecutor, train, MATRIX, jobs, lost=lost)
    for result, value in zip(runner.run(jobs), expected, strict=True):
        assert torch.equal(result, value)


def test_threads(runner: JobRunner[torch.Tensor, Any, Any]) -> None:
    assert runner.run([("threads", 0)]) == [(1, "1")]


def test_a_job_runs_again_when_its_worker_was_killed(
    runner: JobRunner[torch.Tensor, Any, Any], tmp_path: Path
) -> None:
    jobs = [("product", 0), ("die once", tmp_path / "mark"), ("product", 1), ("product", 2)]
    results = runner.run(jobs)
    assert isinstance(results[1], int)
    assert torch.equal(results[3], train(MATRIX, jobs[3]))


@pytest.mark.slow
def test_a_job_is_lost_when_its_worker_always_dies(
    runner: JobRunner[torch.Tensor, Any, Any],
) -> None:
    results = runner.run([("die", 0), ("product", 1)])
    assert results[0].startswith("its worker died 3 times: ")
    assert torch.equal(results[1], train(MATRIX, ("product", 1)))


@pytest.mark.slow
def test_an_error_that_cannot_be_sent() -> None:
    with pytest.raises(RuntimeError, match=r"^Odd: 1 and 2"):
        run_jobs(local, fail, MATRIX, [("", 0)], lost=lost)


SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from pathlib import Path
from tqdm import tqdm
from autoquant.executors.job_runner import JobRunner
from autoquant.executors.local import LocalExecutor
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.formats import format_of, number_format
from autoquant.settings import Scheme
from autoquant.study.job import Job, JobResult
from autoquant.study.job_log import JobLog

@number_format("of main")
def of_main(bits, role, scheme):
    return None

class Context:
    scheme = Scheme(grid="of main")

def train(context, job):
    assert type(context) is Context
    format_of(context.scheme.changed(bias_bits=16), "weight", job.plan["a"])  # is known
    if job.order < 2:
        return JobResult(job, "complete", 0.1 + job.order, seconds=os.getpid())
    list(tqdm([1], disable=True))  # its semaphore would remain
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece
    time.sleep(600)

log = JobLog(Path(sys.argv[1]))
jobs = [Job(Plan({"a": LayerChoice(4, 8)}), 10, order) for order in range(5)]
with JobRunner(lambda: LocalExecutor(2, 1), train, Context(), lost=None) as runner:
    runner.run(jobs, lambda job, result: log.append(result))
"""
"""A program without a guard, whose functions and classes are those of its main module."""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_script(number: signal.Signals, tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "jobs.csv"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", script, log],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    started = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # the stacks of its threads are the message
        pytest.fail(process.communicate(timeout=30)[1])
    assert time.monotonic() - started < 10
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors
        assert errors.endswith("\nKeyboardInterrupt\n"), errors
    assert len(log.read_text().splitlines()) == 3
    deadline = time.monotonic() + 5
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # one that nobody has waited for in a container
