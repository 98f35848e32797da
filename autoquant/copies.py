"""Copies of a user's model and of its inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from autoquant.errors import UserError, first_line


def copy_model(model: nn.Module, kept: Mapping[int, object] | None = None) -> nn.Module:
    """A deep copy of a model.

    Tensors that the model computed and keeps (the weight of a weight norm or of a pruned layer, a
    state of the last pass) are copied without their gradients: deepcopy refuses them.

    Args:
        model: any; it is left as it is.
        kept: what takes the place of objects of the model in the copy, by the identity of these
            objects; the objects themselves where tensors are shared.

    Raises:
        UserError: the model holds something that cannot be copied.
    """
    try:
        return copy.deepcopy(model, {**_computed_tensors(model), **(kept or {})})
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"a model must be one that copy.deepcopy can copy, got {type(model).__name__}: "
            f"{first_line(error)[:200]}"
        ) from error


def _computed_tensors(model: nn.Module) -> dict[int, Tensor]:
    """Copies of a model's tensors that are not leaves of autograd's graph, by identity."""
    values = pytree.tree_leaves([vars(module) for module in model.modules()])
    tensors = (value for value in values if isinstance(value, Tensor))
    return {id(tensor): tensor.detach().clone() for tensor in tensors if not tensor.is_leaf}


def copy_inputs(tree: Any, device: torch.device | None) -> Any:
    """Copies of inputs on a device, without gradients.

    Args:
        tree: tensors, packed sequences and other values in tuples, lists and mappings.
        device: where the copies go; None leaves them where they are.
    """

    def copy_of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to(device, copy=True)
        if isinstance(value, PackedSequence):  # its batch sizes stay on the CPU
            copied = PackedSequence(value.data.detach().clone(), *value[1:])
            return copied if device is None else copied.to(device)  # type: ignore[arg-type]
        return value

    return pytree.tree_map(copy_of, tree, is_leaf=is_packed)


def is_packed(value: object) -> TypeGuard[PackedSequence]:
    """Whether a value is a PackedSequence, whose parts must not be moved one by one.

    Args:
        value: any.
    """
    return isinstance(value, PackedSequence)
