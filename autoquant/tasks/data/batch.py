"""Call: what a model is called with for one batch, and the targets of that batch."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from autoquant.copies import is_packed
from autoquant.errors import UserError, shown

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
"""Under which of them a mapping has its targets, the first one that it has, if nothing is said."""
Unpack = Callable[[Any], Any]
"""batch -> (inputs, targets), or inputs alone for a task without targets."""


@dataclass(frozen=True)
class Call:
    """A model's arguments for a batch, and the batch's targets.

    Attributes:
        inputs: positional arguments.
        keywords: arguments by name.
        targets: what the outputs are compared with; None for a task without targets.
    """

    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    targets: Any = None

    def to(self, device: torch.device, dtype: torch.dtype | None) -> Call:
        """The same on a device.

        Args:
            device: of the model.
            dtype: of the model; inputs of real numbers take it. None leaves them.
        """
        inputs, keywords = moved((self.inputs, self.keywords), device, dtype)
        return Call(inputs, keywords, moved(self.targets, device))


@dataclass(frozen=True)
class Unpacking:
    """How a batch becomes a call.

    Attributes:
        function: the user's, or None for what most data have: tuples (input, ..., target), whose
            inputs are positional arguments, and mappings, whose entries are arguments by name.
        target: the key, or the number, of the targets in a batch; None for the last of a tuple and
            the first of TARGET_KEYS in a mapping.
        labelled: whether batches have targets.
    """

    function: Unpack | None = None
    target: str | int | None = None
    labelled: bool = True

    def __call__(self, batch: Any) -> Call:
        """The call of a batch.

        Args:
            batch: what the data gave.

        Raises:
            UserError: the batch has no targets, or nothing that it could be called with.
        """
        if self.function is not None:
            own = copy(batch) if isinstance(batch, dict | list | UserDict) else batch
            return self._of_function(self.function(own))  # which may take parts out of it
        if not self.labelled:
            return Call(*_arguments(batch))
        if isinstance(batch, Mapping):
            return self._of_mapping(dict(batch))
        if isinstance(batch, tuple | list) and not is_packed(batch) and len(batch) > 1:
            return self._of_members(list(batch))
        raise UserError(
            "a batch must be a tuple (input, ..., target) or a mapping with targets, or unpack say "
            f"what is what, got a {type(batch).__name__}"
        )

    def _of_function(self, result: Any) -> Call:
        if not self.labelled:
            return Call(*_arguments(result))
        if not isinstance(result, tuple) or len(result) != 2:
            came = shown(result) if isinstance(result, str) else f"a {type(result).__name__}"
            raise UserError(f"unpack must return a pair (inputs, targets), got {came}")
        return Call(*_arguments(result[0]), result[1])

    def _of_mapping(self, batch: dict[str, Any]) -> Call:
        key = self.target
        if key is None:
            key = next((name for name in TARGET_KEYS if name in batch), None)
        if key not in batch:
            keys, wanted = ", ".join(map(str, batch)), key or " or ".join(TARGET_KEYS)
            raise UserError(
                f"target must name the targets in a batch (or a batch have {wanted}), got the keys "
                f"{keys}"
            )
        targets = batch.pop(key)
        return Call((), batch, targets)

    def _of_members(self, batch: list[Any]) -> Call:
        number = -1 if self.target is None else self.target
        if not isinstance(number, int) or not -len(batch) <= number < len(batch):
            requirement = f"target must be the number of one of the {len(batch)} parts of a batch"
            raise UserError(f"{requirement}, got {shown(number)}")
        targets = batch.pop(number)
        return Call(tuple(batch), {}, targets)


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments, and arguments by name, of a model's inputs."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list) and not is_packed(inputs):
        return tuple(inputs), {}
    return (inputs,), {}


def moved(tree: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Nested values on a device: tensors, packed sequences, and all else that has a method ``to``.

    Args:
        tree: tensors and other values in tuples, lists and mappings.
        device: where they go.
        dtype: type of real numbers; None leaves theirs.
    """

    def move(value: Any) -> Any:
        real = isinstance(value, Tensor) and value.is_floating_point()
        packed = isinstance(value, PackedSequence) and value.data.is_floating_point()
        if dtype is not None and (real or packed):
            return value.to(device=device, dtype=dtype)
        return value.to(device) if callable(getattr(type(value), "to", None)) else value

    return pytree.tree_map(move, tree, is_leaf=is_packed)


def samples_of(batch: Any) -> int:
    """Number of samples of a batch: the length of its first tensor, or of a list without tensors.

    Args:
        batch: tensors in any nested structure.
    """
    for leaf in pytree.tree_leaves(batch, is_leaf=is_packed):
        if isinstance(leaf, PackedSequence):
            return int(leaf.batch_sizes[0])
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
    return len(batch) if isinstance(batch, list) else 1
