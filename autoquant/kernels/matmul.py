"""Matrix products of gradients, in the precision that is asked for."""

from __future__ import annotations

from torch import Tensor


def narrowed(values: Tensor, precision: str) -> Tensor:
    """A factor as the products below take it: in "float32" as it is, else in bfloat16."""
    return values.bfloat16() if precision == "bfloat16" else values


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [M, K] times right [K, N], narrowed or not -> [M, N] in left's dtype."""
    return (left.to(right.dtype) @ right).to(left.dtype)


def add_product_(rows: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left [M, K] times right [K, N], narrowed or not, to rows [M, N]."""
    if left.dtype == right.dtype:
        rows.addmm_(left, right)
    else:
        rows.add_(product(left, right))
