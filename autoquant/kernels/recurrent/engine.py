"""What a fast recurrence is asked for, and the protocol of those that compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from autoquant.kernels.recurrent.cell import Cell, State
from autoquant.quantization.codes import Grid, QuantParams

SavedTensors = tuple[Tensor, ...]  # what backward needs from forward


@dataclass(frozen=True)
class Job:
    """One direction over time; everything about it that is not a tensor to differentiate.

    Attributes:
        cell: the cell; without a projection.
        sizes: active sequences of each of the T steps; non-increasing, N is their sum.
        grid: codes of the hidden state, or None where it is not quantized.
        clip: whether codes are held inside the grid.
        masked: whether the gradient of clipped values is stopped; never without ``clip``.
        coding: which codes the recurrent weight stands for, or None.
        precision: of the products of gradients: "float32" or "bfloat16".
        training: whether a backward pass may follow; without it a tape is not needed.
        scale_gradient: whether the step size wants a gradient.
        state_gradient: whether the initial state wants one.
    """

    cell: Cell
    sizes: tuple[int, ...]
    grid: Grid | None = None
    clip: bool = True
    masked: bool = True
    coding: QuantParams | None = None
    precision: str = "float32"
    training: bool = True
    scale_gradient: bool = True
    state_gradient: bool = True


class Gradients(NamedTuple):
    """What ``Engine.backward`` returns.

    Attributes:
        projected: [N, G*H].
        recurrent_product: [N, G*H], of hidden @ recurrent.T. The same tensor as ``projected``, but
            for a GRU, where the reset gate stands between the two.
        state: of the initial state, each part [B, H]; None where the job does not want them.
        scale: of the hidden state's step size; None where none is wanted.
    """

    projected: Tensor
    recurrent_product: Tensor
    state: tuple[Tensor | None, ...]
    scale: Tensor | None


class Engine(Protocol):
    """Runs a cell over time and back. Neither pass is recorded by autograd."""

    def forward(
        self,
        job: Job,
        projected: Tensor,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        state: State,
        scale: Tensor | None,
    ) -> tuple[Tensor, State, SavedTensors]:
        """Run over time.

        Args:
            projected: [N, G*H], product of inputs and input weight, with the bias; its memory is
                the engine's from here on.
            recurrent: [G*H, H], fake-quantized values.
            candidate_bias: [H], of a GRU, or None.
            state: initial (h,) or (h, c), each [B, H]; h is quantized.
            scale: step size of the hidden state, a scalar, or None.

        Returns:
            hidden states [N, H], quantized; the last state, in memory of its own; the tape.
        """

    def backward(
        self,
        job: Job,
        tape: SavedTensors,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        scale: Tensor | None,
        grad_hidden: Tensor,
        grad_last: State,
    ) -> Gradients:
        """Run back from the gradients of the hidden states [N, H] and of the last state."""
