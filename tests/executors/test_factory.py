from pathlib import Path

from autoquant.executors.factory import new_executor
from autoquant.executors.local import LocalExecutor
from autoquant.executors.serial import SerialExecutor
from autoquant.settings import Search


def test_new_executor(tmp_path: Path) -> None:
    assert isinstance(new_executor(Search(), tmp_path), SerialExecutor)
    executor = new_executor(Search(workers=2), tmp_path)
    assert isinstance(executor, LocalExecutor)
    executor.shutdown()  # no process has started
