"""Matrix products of backward passes, in float32 or bfloat16."""

from __future__ import annotations

from torch import Tensor


def narrowed(values: Tensor, precision: str) -> Tensor:
    """A factor as the products below take it.

    Args:
        values: of any shape.
        precision: "float32" leaves them unchanged, "bfloat16" narrows them.
    """
    return values.bfloat16() if precision == "bfloat16" else values


def product(left: Tensor, right: Tensor) -> Tensor:
    """left times right, [M, N] in left's dtype.

    Args:
        left: [M, K].
        right: [K, N], narrowed or not: its dtype is that of the multiplication.
    """
    return (left.to(right.dtype) @ right).to(left.dtype)


def add_product_(rows: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left times right to rows, in place.

    Args:
        rows: [M, N].
        left: [M, K].
        right: [K, N], narrowed or not.
    """
    if left.dtype == right.dtype:
        rows.addmm_(left, right)
    else:
        rows.add_(product(left, right))
