from concurrent.futures import Future
from pathlib import Path

import pytest

from autoquant.executors.slurm_job import SlurmJob


class JobPaths:
    def __init__(self, folder: Path) -> None:
        self.stderr = folder / "7_0_log.err"


class Job:
    def __init__(self, folder: Path) -> None:
        self.job_id, self.paths = "7_0", JobPaths(folder)


@pytest.mark.parametrize(
    ("states", "running", "ended"),
    [
        pytest.param(["PENDING", "PENDING"], False, False, id="waits"),
        pytest.param(["PENDING", "RUNNING"], True, False, id="runs"),
        pytest.param(["RUNNING", "TIMEOUT", "TIMEOUT"], False, True, id="too long"),
        pytest.param(["RUNNING", "gone", "gone"], False, True, id="no longer known"),
        pytest.param(["NODE_FAIL", "PENDING"], False, False, id="waits again"),
    ],
)
def test_states_of_slurm(states: list[str], running: bool, ended: bool, tmp_path: Path) -> None:
    submitted = SlurmJob(Future(), (), {}, Job(tmp_path))
    for state in states:
        submitted.see(state, late=-1.0)
    assert submitted.future.running() is running
    assert submitted.future.done() is ended
    if ended:
        reason = f"SLURM job 7_0 ended without a result (state {states[-1]})"
        assert reason in str(submitted.future.exception())
