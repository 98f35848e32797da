"""What a worker runs: it checks the versions, reads what all jobs share once, and runs a job.

Nothing is imported here that a worker of another version may lack, and torch only after its threads
are set.
"""

from __future__ import annotations

import hashlib
import pickle
import socket
import threading
from pathlib import Path
from typing import Any

from autoquant.errors import RunError, first_line
from autoquant.executors.versions import Versions, check_versions, unpickling_error

_one_job = threading.RLock()
"""Jobs set torch's random state: in a process with several threads they run one at a time."""
_kept: dict[str, Any] = {}
"""By its digest, what all jobs of a study share: the last one that was needed."""


def run_sent(driver: Versions, source: Any, digest: str, job: bytes) -> Any:
    """Run a job in a worker.

    Args:
        driver: its versions.
        source: of what all jobs share: the path of a file as text, or an object with a buffer.
        digest: SHA-256 of its content, in hexadecimal digits.
        job: pickled.

    Returns:
        the result of the job.

    Raises:
        RunError: this worker cannot read what was sent.
        Exception: what the job raised.
    """
    check_versions(driver)
    with _one_job:
        try:
            shared = _shared(source, digest)
            own = pickle.loads(job)
        except RunError:
            raise
        except Exception as error:
            raise unpickling_error(error, driver) from error
        return shared(own)


def _shared(source: Any, digest: str) -> Any:
    """What all jobs share: a function of the job; it is read once.

    Args:
        source: a path as text, or an object with a buffer.
        digest: of its content.
    """
    if digest not in _kept:
        _kept.clear()  # memory may not suffice for two
        content = _read(source) if isinstance(source, str) else memoryview(source)
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError("a worker must get what the driver sent, got another content")
        state, shared = pickle.loads(content)
        state.apply()
        _kept[digest] = shared
    return _kept[digest]


def _read(path: str) -> bytes:
    """The content of a file that the driver wrote.

    Args:
        path: of the file.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(
            f"a worker on {socket.gethostname()} could not read '{path}': {first_line(error)}; "
            "cluster.folder must be a folder that all workers see"
        ) from error
