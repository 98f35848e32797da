"""Recurrences, linear layers and losses: each computed by the fastest kernel that suits."""

from autoquant.backend import Compute, computing, current
from autoquant.kernels.integer_linear import linear
from autoquant.kernels.losses import cross_entropy, distillation_cross_entropy
from autoquant.kernels.recurrent.cell import Cell, Quantize, Recurrence, State, Weights
from autoquant.kernels.recurrent.dispatch import recur
from autoquant.kernels.recurrent.registry import engine

__all__ = [
    "Cell",
    "Compute",
    "Quantize",
    "Recurrence",
    "State",
    "Weights",
    "computing",
    "cross_entropy",
    "current",
    "distillation_cross_entropy",
    "engine",
    "linear",
    "recur",
]
