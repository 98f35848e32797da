import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

import pytest

from autoquant.errors import RunError, UserError
from autoquant.executors import worker
from autoquant.executors.context import SharedContext
from autoquant.executors.serial import SerialExecutor


class Odd(Exception):
    """An error that cannot be pickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


class WithFiles(SerialExecutor):
    """Calls here what a worker would call."""

    shares_memory = False


class WithStore(WithFiles):
    """An executor with an object store."""

    def __init__(self) -> None:
        self.store: list[bytes] = []

    def put(self, content: bytes) -> int:
        self.store.append(content)
        return len(self.store) - 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        here = (self.store[arg] if isinstance(arg, int) else arg for arg in args)
        return super().submit(fn, *here)


def times(context: int, job: int) -> int:
    return context * job


def identity(context: Any, job: Any) -> int:
    return id(context)


@pytest.fixture(autouse=True)
def new_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_kept", {})


def test_in_one_memory_the_value_itself_is_used(tmp_path: Path) -> None:
    value = threading.Lock()
    context = SharedContext(identity, value, tmp_path / "context")
    assert context.submit(SerialExecutor(), 1).result() == id(value)
    assert [*tmp_path.iterdir()] == []


def test_the_file_is_written_once_and_removed(tmp_path: Path) -> None:
    path, executor = tmp_path / "context", WithFiles()
    context = SharedContext(times, 3, path)
    assert context.submit(executor, 2).result() == 6
    written = path.stat().st_mtime_ns
    assert context.submit(executor, 4).result() == 12
    assert path.stat().st_mtime_ns == written
    context.remove()
    assert not path.exists()
    context.remove()


def test_with_a_store_no_file_is_written(tmp_path: Path) -> None:
    context, executor = SharedContext(times, 3, tmp_path / "context"), WithStore()
    assert [context.submit(executor, job).result() for job in (2, 4)] == [6, 12]
    assert len(executor.store) == 1
    assert [*tmp_path.iterdir()] == []
    other = WithStore()  # a new one, because the first was broken
    assert context.submit(other, 2).result() == 6
    assert len(other.store) == 1


def test_a_worker_reads_the_context_once(tmp_path: Path) -> None:
    context, executor = SharedContext(identity, [1], tmp_path / "context"), WithFiles()
    first = context.submit(executor, 1).result()
    (tmp_path / "context").unlink()
    assert context.submit(executor, 2).result() == first


def test_a_folder_that_workers_do_not_see(tmp_path: Path) -> None:
    context, executor = SharedContext(times, 3, tmp_path / "context"), WithFiles()
    context._source(executor)
    (tmp_path / "context").unlink()
    with pytest.raises(RunError, match=r"could not read .*; cluster\.folder must be a folder that"):
        context.submit(executor, 2).result()


def test_another_content_is_refused(tmp_path: Path) -> None:
    context, executor = SharedContext(times, 3, tmp_path / "context"), WithFiles()
    context._source(executor)
    (tmp_path / "context").write_bytes(b"other")
    with pytest.raises(RunError, match="must get what the driver sent, got another content"):
        context.submit(executor, 2).result()


def test_a_context_that_cannot_be_pickled(tmp_path: Path) -> None:
    context = SharedContext(times, {"task": [threading.Lock()]}, tmp_path / "context")
    with pytest.raises(UserError) as caught:
        context.submit(WithFiles(), 1)
    assert str(caught.value).startswith(
        "with workers above 1, task.0 must be picklable, got a lock: cannot pickle"
    )
    assert str(caught.value).endswith("; workers=1 works")


def fail(context: Any, job: str) -> None:
    raise {"error": ArithmeticError("x"), "odd": Odd(1, 2), "pool": BrokenExecutor("own")}[job]


@pytest.mark.parametrize(
    ("job", "seen", "text"),
    [
        pytest.param("error", ArithmeticError, "x", id="sent as it is"),
        pytest.param("odd", RuntimeError, "Odd: 1 and 2", id="cannot be sent"),
        pytest.param("pool", RuntimeError, "BrokenExecutor: own", id="a pool of the job's own"),
    ],
)
def test_errors_of_a_job(job: str, seen: type[Exception], text: str, tmp_path: Path) -> None:
    error = SharedContext(fail, 0, tmp_path / "context").submit(WithFiles(), job).exception()
    assert type(error) is seen
    assert str(error) == text
