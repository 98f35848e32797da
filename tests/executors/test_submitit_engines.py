import pytest

from autoquant.executors import submitit_engines
from autoquant.executors.submitit_engines import Slurm

SQUEUE = """\
7_0 RUNNING
7_1 PENDING
8 TIMEOUT
"""


def test_one_call_names_all_states(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(submitit_engines.shutil, "which", lambda name: name)
    monkeypatch.setattr(
        submitit_engines, "_called", lambda command: calls.append(command) or SQUEUE
    )
    slurm = Slurm("autoquant-1")
    assert slurm.states([1]) == {"7_0": "RUNNING", "7_1": "PENDING", "8": "TIMEOUT"}
    assert slurm.states([1]) is None  # too soon
    assert len(calls) == 1
    assert "--name=autoquant-1" in calls[0]
    monkeypatch.setattr(submitit_engines, "QUEUE_SECONDS", 0.0)
    monkeypatch.setattr(submitit_engines, "_called", lambda command: None)
    assert slurm.states([1]) is None  # SLURM is busy: no job has ended for that
