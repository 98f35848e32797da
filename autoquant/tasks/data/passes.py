"""One pass over data that a user gave: how many batches it has, and which pass it is."""

from __future__ import annotations

from typing import Any


def length_of(batches: Any) -> int | None:
    """Number of batches of a pass; None where it is not known.

    Args:
        batches: a sampler or a stream.
    """
    try:
        return len(batches)
    except (TypeError, NotImplementedError):  # also of a batch sampler whose sampler has no length
        return None


def set_epoch(sampler: Any, seed: int) -> None:
    """Tell a sampler of its next pass, where it wants to know (as torch's DistributedSampler).

    Args:
        sampler: any object.
        seed: of the pass; the sampler takes it for the number of an epoch.
    """
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(seed % 2**31)
