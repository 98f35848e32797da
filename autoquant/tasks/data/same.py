"""Whether two batches, or the orders of two epochs, are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def same_values(first: Any, second: Any) -> bool:
    """Whether nested values are equal: tensors, arrays, numbers and texts.

    Args:
        first: tensors and other values in tuples, lists and mappings.
        second: others. Objects that cannot be compared count as equal.
    """
    leaves, structure = pytree.tree_flatten(first)
    others, other_structure = pytree.tree_flatten(second)
    return structure == other_structure and all(map(_same, leaves, others))


def _same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return first.shape == second.shape and bool(torch.equal(first, second))
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second))
    plain = isinstance(first, int | float | str | bytes)
    return first == second if plain else True
