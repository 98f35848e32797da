from autoquant.executors.factory import new_executor
from autoquant.executors.local import LocalExecutor
from autoquant.executors.serial import SerialExecutor


def test_new_executor() -> None:
    assert isinstance(new_executor(1, 1), SerialExecutor)
    executor = new_executor(2, 1)
    assert isinstance(executor, LocalExecutor)
    executor.shutdown()  # no process has started
