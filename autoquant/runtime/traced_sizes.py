"""A recorded model whose time steps are part of the record runs on inputs of these sizes alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.quantization.native.operator import define


def with_fixed_sizes(inputs: Tensor | PackedSequence) -> Tensor | PackedSequence:
    """Recurrent inputs that, in a model that torch.jit.trace records, must keep their sizes.

    A loop over time is recorded as its steps. With another number of steps or sequences the record
    would compute something else, and torch would not notice.

    Args:
        inputs: of a recurrent stack.
    """
    if isinstance(inputs, Tensor):
        return _fixed(inputs, torch._shape_as_tensor(inputs))
    data, sizes, order, order_before = inputs
    return PackedSequence(_fixed(data, sizes), sizes, order, order_before)


def _fixed(rows: Tensor, sizes: Tensor) -> Tensor:
    fixed: Tensor = torch.ops.autoquant.fixed_sizes(rows, sizes, sizes.tolist())
    return fixed


def _compute(rows: Tensor, sizes: Tensor, traced: list[int]) -> Tensor:
    """The operator's function.

    Args:
        rows: returned as they are.
        sizes: that the inputs have.
        traced: that they had when the model was recorded.

    Raises:
        UserError: these differ.
    """
    if sizes.tolist() != list(traced):
        raise UserError(
            f"recurrent inputs must have the sizes that they were traced with, {list(traced)}, "
            f"got {sizes.tolist()}"
        )
    return rows


def _shapes(rows: Tensor, sizes: Tensor, traced: list[int]) -> Tensor:
    """See ``_compute``."""
    return rows


define("fixed_sizes(Tensor(a) rows, Tensor sizes, int[] traced) -> Tensor(a)", _compute, _shapes)
