"""Numbers as a packed file stores them: narrower floats, and scales of 8, 16 or 32 bits.

The functions that round are used in training: their gradient passes unchanged, as if nothing had
been rounded (a straight-through estimator).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.quantization import log_scales
from autoquant.quantization.native.operator import EVERY_DEVICE, define
from autoquant.quantization.native.tracing import (
    is_compiled_inference,
    is_differentiated,
    untraced,
)

FLOAT_TYPES = {16: torch.float16, 32: torch.float32}
"""Types of parameters and activations by their bits, where these are more than 8."""
SCALE_TYPES = {16: torch.bfloat16, 32: torch.float32}
"""Types of scales by their bits; scales of 8 bits are logarithms (see log_scales)."""

Rounding = Callable[[Tensor], Tensor]


class _StraightThrough(torch.autograd.Function):
    """Apply a rounding function; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rounding: Rounding) -> Tensor:
        """Round.

        Args:
            ctx: of autograd; nothing is kept in it.
            values: any shape.
            rounding: values -> values of the same shape.
        """
        return rounding(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(values: Tensor, rounding: Rounding) -> Tensor:
    """Rounded values, with the gradient of the values as they were.

    Args:
        values: any shape.
        rounding: values -> values of the same shape and dtype; autograd does not record it.
    """
    if not is_differentiated(values):
        return rounding(values)
    result: Tensor = _StraightThrough.apply(values, rounding)  # type: ignore[no-untyped-call]
    return result


def cast(values: Tensor, bits: int, types: dict[int, torch.dtype] = FLOAT_TYPES) -> Tensor:
    """Values as they are after storage in a narrower float type, in their own dtype.

    torch's compilers do not see what it does: they leave out a narrowing that is undone at once.

    Args:
        values: float, any shape. Magnitudes beyond the type's range become its largest number.
        bits: a key of ``types``.
        types: the float type for each number of bits.

    Returns:
        ``values`` itself where the type is not narrower than theirs.
    """
    if types[bits].itemsize >= values.dtype.itemsize:
        return values
    if is_compiled_inference(values):
        result: Tensor = torch.ops.autoquant.narrow_and_back(values, types[bits])
        return result
    return _cast(values, types[bits])


@untraced
def _cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    return straight_through(values, partial(_narrow_and_back, dtype=dtype))


def _narrow_and_back(values: Tensor, dtype: torch.dtype) -> Tensor:
    limit = torch.finfo(dtype).max
    return values.clamp(-limit, limit).to(dtype).to(values.dtype)


def _empty_like(values: Tensor, *arguments: object) -> Tensor:
    return torch.empty_like(values)


define(
    "narrow_and_back(Tensor values, ScalarType dtype) -> Tensor",
    _narrow_and_back,
    _empty_like,
    EVERY_DEVICE,
)


def stored_scale(count: int, bits: int) -> tuple[torch.dtype, tuple[int, ...]]:
    """Type and shape of the scales of one parameter in the packed file.

    Args:
        count: how many scales the parameter has, n.
        bits: of each: 8, 16 or 32. A single scale in 8 bits would take two bytes, since its
            exponent is stored beside it; it takes bfloat16 instead.

    Returns:
        [n] in the float type of that many bits, or bytes [1 + n] for 8 bits.
    """
    if bits == 8 and count != 1:
        return torch.uint8, (1 + count,)
    return SCALE_TYPES[max(bits, 16)], (count,)


def round_scale(scale: Tensor, bits: int) -> Tensor:
    """Scales as they are after storage; gradients pass unchanged.

    Args:
        scale: of one parameter, any shape.
        bits: as in ``stored_scale``.
    """
    dtype, _ = stored_scale(scale.numel(), bits)
    if dtype == torch.uint8:
        return straight_through(scale, log_scales.rounded)
    return cast(scale, 8 * dtype.itemsize, SCALE_TYPES)


def store_scale(scale: Tensor, bits: int) -> Tensor:
    """Rounded scales as the packed file has them, in the type and shape of ``stored_scale``.

    Args:
        scale: n scales of one parameter, in any shape, from ``round_scale``.
        bits: the same as there.
    """
    dtype, _ = stored_scale(scale.numel(), bits)
    return log_scales.stored(scale) if dtype == torch.uint8 else scale.reshape(-1).to(dtype)


def restore_scale(stored: Tensor) -> Tensor:
    """The scales that ``store_scale`` stored, [n] float32.

    Args:
        stored: what it returned.

    Returns:
        a new tensor.

    Raises:
        UserError: a scale is not finite, or not above 0.
    """
    if stored.dtype == torch.uint8:
        return log_scales.restored(stored)
    scales = stored.to(torch.float32, copy=True)
    if not bool((scales.isfinite() & (scales > 0)).all()):
        raise UserError("scales must be finite and above 0")
    return scales
