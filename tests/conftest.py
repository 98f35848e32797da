import os
import tempfile

import torch
from hypothesis import settings

_STATE = tempfile.TemporaryDirectory()
os.environ["AUTOQUANT_STATE"] = _STATE.name  # nothing is written into the user's own folder

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")
