import pytest

from autoquant.executors.serial import SerialExecutor


def test_runs_on_submit() -> None:
    calls: list[int] = []
    future = SerialExecutor().submit(calls.append, 3)
    assert calls == [3]
    assert future.done()
    assert SerialExecutor().submit(divmod, 7, 4).result() == (1, 3)


def test_error_is_in_the_future() -> None:
    future = SerialExecutor().submit(int, "x")
    assert isinstance(future.exception(), ValueError)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_passes(interrupt: type[BaseException]) -> None:
    def job() -> None:
        raise interrupt

    with pytest.raises(interrupt):
        SerialExecutor().submit(job)
