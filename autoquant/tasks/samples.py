"""Samples of a split: tensors of one length, or a dataset, from which batches are selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from autoquant.errors import UserError

Batch = tuple[Any, ...]
"""Inputs of the model, and the targets at the end."""
Data = Sequence[Tensor] | Any
"""Tensors [N, ...] of one length, targets last; or a map-style dataset."""


def checked_data(split: str, data: Data) -> Data:
    """Data of a split, checked to be samples of inputs and targets.

    Args:
        split: its name, for error messages.
        data: what the user gave.

    Returns:
        tensors as a tuple; a dataset as it is.

    Raises:
        UserError: the data is something else, or has no sample.
    """
    tensors = isinstance(data, tuple | list) and all(isinstance(x, Tensor) for x in data)
    if tensors:
        lengths = [len(tensor) for tensor in data]
        if len(data) < 2 or len(set(lengths)) > 1:
            requirement = f"{split} must be inputs and targets of one length"
            raise UserError(f"{requirement}, got tensors of {lengths or 'no'} samples")
    elif not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        requirement = f"{split} must be tensors, or a dataset with a length and items"
        raise UserError(f"{requirement}, got a {type(data).__name__}")
    if length_of(data) < 1:
        raise UserError(f"{split} must have at least one sample, got none")
    if not tensors and not (isinstance(data[0], tuple | list) and len(data[0]) > 1):
        requirement = f"items of {split} must be tuples (input, ..., target)"
        raise UserError(f"{requirement}, got a {type(data[0]).__name__}")
    return tuple(data) if tensors else data


def length_of(data: Data) -> int:
    """Number of samples.

    Args:
        data: as ``checked_data`` returned it.
    """
    return len(data[0]) if isinstance(data, tuple) else len(data)


def select(data: Data, indices: Tensor) -> Batch:
    """A batch of samples: their inputs and, last, their targets.

    Args:
        data: as ``checked_data`` returned it.
        indices: of the samples, [B].
    """
    if isinstance(data, tuple):
        return tuple(tensor[indices] for tensor in data)
    return tuple(default_collate([tuple(data[i]) for i in indices.tolist()]))
