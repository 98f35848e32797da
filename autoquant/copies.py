"""Copies of a user's model."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn
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
