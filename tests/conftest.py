import os
import sys
import tempfile
from pathlib import Path

if sys.dont_write_bytecode:  # then each of the many child processes would compile torch again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "autoquant-bytecode")
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]

import torch
from hypothesis import settings

_STATE = tempfile.TemporaryDirectory()
os.environ["AUTOQUANT_STATE"] = _STATE.name  # nothing is written into the user's own folder

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")
