"""Recurrent cores: one interface, ``recur``; the fastest that suits is chosen."""

from __future__ import annotations

from torch import Tensor

from autoquant.kernels import fused, reference
from autoquant.kernels.cell import Cell, Quantize, State, Weights

__all__ = ["Cell", "Quantize", "State", "Weights", "recur"]


def recur(
    cell: Cell, inputs: Tensor, weights: Weights, state: State, quantize: Quantize | None = None
) -> tuple[Tensor, State]:
    """Run one direction over time; see kernels.reference.recur."""
    kernel = fused.recur if fused.suits(cell, quantize) else reference.recur
    return kernel(cell, inputs, weights, state, quantize)
