import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.dont_write_bytecode:  # then each of the many child processes would compile torch again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "autoquant-bytecode")
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]

import pytest
import torch
from hypothesis import settings

from tests.exports.tables import tables_made_once

__all__ = ["tables_made_once"]

_STATE = tempfile.TemporaryDirectory()
os.environ["AUTOQUANT_STATE"] = _STATE.name  # nothing is written into the user's own folder

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """What was imported stays: the search for garbage, in hundreds of trainings, leaves it out."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def fast_disk() -> Iterator[None]:
    """No test pulls the plug, so that no write needs to wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield
