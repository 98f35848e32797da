import hashlib
import pickle
import sys
import types
from typing import Any

import numpy as np
import pytest

from autoquant.errors import RunError
from autoquant.executors import versions, worker
from autoquant.executors.process_state import ProcessState
from autoquant.executors.versions import current_versions

HERE = current_versions()


def negative(job: Any) -> Any:
    return -job


def content_of(shared: Any) -> tuple[bytes, str]:
    content = pickle.dumps((ProcessState.current(), shared))
    return content, hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def new_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_kept", {})


@pytest.mark.parametrize("kind", [bytes, memoryview, lambda x: np.frombuffer(x, np.uint8)])
def test_what_is_shared_comes_in_any_buffer(kind: Any) -> None:
    content, digest = content_of(negative)
    assert worker.run_sent(HERE, kind(content), digest, pickle.dumps(3)) == -3


def test_what_is_shared_is_not_touched_again() -> None:
    content, digest = content_of(negative)
    worker.run_sent(HERE, content, digest, pickle.dumps(3))
    assert worker.run_sent(HERE, object(), digest, pickle.dumps(4)) == -4


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        pytest.param(
            ("9.9", *HERE[1:]),
            ["must have autoquant 9.9, got", "pip install autoquant-torch==9.9 there"],
            id="autoquant",
        ),
        pytest.param(
            (HERE[0], "2.7", HERE[2]),
            ["must run Python 2.7, got 3.", "the Python of the driver"],
            id="Python",
        ),
    ],
)
def test_other_versions_are_refused_before_anything_is_read(
    driver: Any, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions.socket, "gethostname", lambda: "node17")
    with pytest.raises(RunError) as caught:
        worker.run_sent(driver, object(), "", b"not a pickle")
    for text in [*words, "on node17"]:
        assert text in str(caught.value)


def test_another_torch_is_named_only_where_nothing_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions.socket, "gethostname", lambda: "node17")
    content, digest = content_of(negative)
    driver = (*HERE[:2], "0.1")
    assert worker.run_sent(driver, content, digest, pickle.dumps(3)) == -3
    with pytest.raises(RunError) as caught:
        worker.run_sent(driver, content, digest, b"not a pickle")
    assert str(caught.value).startswith("a worker on node17 could not unpickle the task: ")
    assert str(caught.value).endswith(f"; the driver has torch 0.1, node17 has {HERE[2]}")


def test_a_worker_without_the_module_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("of_the_driver")
    exec("def function(job): pass", vars(module))
    monkeypatch.setitem(sys.modules, "of_the_driver", module)
    content, digest = content_of(module.function)
    monkeypatch.delitem(sys.modules, "of_the_driver")
    with pytest.raises(RunError, match="must have the module 'of_the_driver', which the"):
        worker.run_sent(HERE, content, digest, pickle.dumps(3))
