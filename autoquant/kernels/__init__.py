"""Recurrent cores: one interface, ``recur``; the fastest that suits is chosen, or one by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autoquant.backend import Compute, computing, current
from autoquant.errors import UserError
from autoquant.kernels.integer_linear import linear
from autoquant.kernels.losses import cross_entropy, distillation_cross_entropy
from autoquant.kernels.recurrent import (
    cuda_graphs,
    fused,
    native,
    recurrence,
    reference,
    torch_loop,
)
from autoquant.kernels.recurrent.cell import Cell, Quantize, State, Weights
from autoquant.kernels.recurrent.recurrence import EngineFor
from autoquant.quantization.fake_quantize import ActivationQuantizer

__all__ = [
    "Cell",
    "Compute",
    "Quantize",
    "State",
    "Weights",
    "computing",
    "cross_entropy",
    "current",
    "distillation_cross_entropy",
    "linear",
    "recur",
]

ENGINES: tuple[tuple[str, EngineFor], ...] = (  # best first
    ("native", native.engine_for),
    ("torch", cuda_graphs.engine_for),
    ("torch", torch_loop.engine_for),
)


def recur(
    cell: Cell,
    inputs: Tensor,
    sizes: Sequence[int],
    weights: Weights,
    state: State,
    quantize: Quantize | None = None,
) -> tuple[Tensor, State]:
    """Run one direction over time; see kernels.reference.recur.

    ``compute.current`` says which kernel is asked for. A quantizer that still observes always gets
    the reference, which shows it every hidden state.
    """
    _check(inputs, sizes, state)
    name = current().kernel
    given = cell, inputs, sizes, weights, state, quantize
    if name == "reference" or _observes(quantize):
        return reference.recur(*given)
    if name != "native" and fused.suits(cell, quantize, weights.projection):
        return fused.recur(*given)
    problem = recurrence.obstacle(cell, inputs, weights, quantize)
    if problem is None:
        engines = [engine_for for known, engine_for in ENGINES if name in ("auto", known)]
        found = recurrence.recur(*given, engines)
        if found is not None:
            return found
    if name != "auto":
        problem = problem or "such a cell, or numbers of such types, on this machine"
        raise UserError(f"kernel must be 'auto' or 'reference' for {problem}, got {name!r}")
    return reference.recur(*given)


def _observes(quantize: Quantize | None) -> bool:
    return isinstance(quantize, ActivationQuantizer) and quantize.observed is not None


def _check(inputs: Tensor, sizes: Sequence[int], state: State) -> None:
    if not len(sizes):
        raise UserError("a sequence must have at least one step, got none")
    if state[0].shape[0] != sizes[0]:
        raise UserError(
            f"a recurrent state must have a row for each sequence ({sizes[0]}), "
            f"got {state[0].shape[0]}"
        )
    if sum(sizes) != inputs.shape[0] or list(sizes) != sorted(sizes, reverse=True):
        raise ValueError(f"sizes must not increase and add up to {inputs.shape[0]}, got {sizes}")
