"""Seeds of the global random sources: Python's, numpy's and torch's."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed every random source that models and training draw from.

    Args:
        seed: of Python's ``random``, of numpy (modulo 2**32) and of torch.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    seed_torch(seed)


def seed_torch(seed: int) -> None:
    """Seed torch, as ``torch.manual_seed`` does.

    Without an accelerator that function writes down the call stack for each kind of it, which takes
    longer than a step of a small model; only the CPU's source is seeded then.

    Args:
        seed: of all devices.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
