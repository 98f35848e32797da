"""The choice of what computes a recurrence: torch's fused kernels, an engine, or the reference."""

from __future__ import annotations

from torch import Tensor

from autoquant.backend import current
from autoquant.errors import UserError
from autoquant.kernels.recurrent import autograd, fused, reference
from autoquant.kernels.recurrent.cell import Quantize, Recurrence, State
from autoquant.kernels.recurrent.registry import factories
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.native.tracing import is_traced, untraced


@untraced
def recur(recurrence: Recurrence) -> tuple[Tensor, State]:
    """Run one direction over time; ``backend.current`` says which kernel is asked for.

    A quantizer that still observes always gets the reference, which shows it every hidden state. A
    run that is traced gets no engine, since torch must see its operations.

    Args:
        recurrence: what is run.

    Returns:
        See ``reference.recur``.

    Raises:
        UserError: there is no time step, the state has another batch size, or the kernel that is
            asked for cannot compute this.
    """
    _check(recurrence)
    kernel = current().kernel
    if kernel == "reference" or _observes(recurrence.quantize):
        return reference.recur(recurrence)
    if kernel in ("auto", "torch") and fused.suits(recurrence):
        return fused.recur(recurrence)
    if is_traced(recurrence.inputs, recurrence.weights.recurrent, *recurrence.state):
        return reference.recur(recurrence)
    problem = autograd.obstacle(recurrence)
    if problem is None:
        result = autograd.recur(recurrence, factories(kernel))
        if result is not None:
            return result
    if kernel != "auto":
        problem = problem or "such a cell, or numbers of such types, on this machine"
        raise UserError(f"kernel must be 'auto' or 'reference' for {problem}, got {kernel!r}")
    return reference.recur(recurrence)


def _observes(quantize: Quantize | None) -> bool:
    return isinstance(quantize, ActivationQuantizer) and quantize.observed is not None


def _check(recurrence: Recurrence) -> None:
    sizes, state = recurrence.sizes, recurrence.state
    if not len(sizes):
        raise UserError("a sequence must have at least one step, got none")
    if state[0].shape[0] != sizes[0]:
        raise UserError(
            f"a recurrent state must have a row for each sequence ({sizes[0]}), "
            f"got {state[0].shape[0]}"
        )
    device, expected = recurrence.inputs.device, recurrence.weights.recurrent.device
    if device != expected:
        raise UserError(
            f"recurrent inputs must be on the weights' device, {expected}, got {device}"
        )
    rows = recurrence.inputs.shape[0]
    if sum(sizes) != rows or list(sizes) != sorted(sizes, reverse=True):
        raise ValueError(f"sizes must not increase and add up to {rows}, got {sizes}")
