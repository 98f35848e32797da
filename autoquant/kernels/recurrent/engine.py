"""What a fast recurrence is asked for, and the protocol of the engines that compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from autoquant.kernels.recurrent.cell import Cell, State
from autoquant.quantization.codes import QuantParams, QuantSpec

SavedTensors = tuple[Any, ...]
"""Tensors, and None for absent ones, that an engine's backward pass needs from its forward pass."""


@dataclass(frozen=True)
class Job:
    """One direction over time; everything about it that is not a tensor to differentiate.

    Attributes:
        cell: the cell; without a projection.
        sizes: active sequences of each of the T time steps; non-increasing, N is their sum.
        hidden: how the hidden state is quantized; None where it is not.
        weight_params: quantization parameters of the recurrent weight, or None.
        precision: of the matrix products in the backward pass: "float32" or "bfloat16".
        training: whether a backward pass may follow; without it no tensors are saved.
        scale_gradient: whether the gradient of the hidden state's scale is needed.
        state_gradient: whether the gradient of the initial state is needed.
    """

    cell: Cell
    sizes: tuple[int, ...]
    hidden: QuantSpec | None = None
    weight_params: QuantParams | None = None
    precision: str = "float32"
    training: bool = True
    scale_gradient: bool = True
    state_gradient: bool = True


class Operands(NamedTuple):
    """The tensors of a forward pass.

    Attributes:
        projected: [N, G*H], product of inputs and input weight, with the bias. An engine may
            overwrite it.
        recurrent: [G*H, H], the recurrent weight, fake-quantized.
        candidate_bias: [H], of a GRU, or None.
        state: the initial (h,) or (h, c), each [B, H]; h is quantized.
        scale: of the hidden state, a scalar; None where it is not quantized.
    """

    projected: Tensor
    recurrent: Tensor
    candidate_bias: Tensor | None
    state: State
    scale: Tensor | None

    def flat(self) -> tuple[Tensor | None, ...]:
        """All tensors in one tuple: projected, recurrent, candidate bias, scale, *state."""
        return self.projected, self.recurrent, self.candidate_bias, self.scale, *self.state

    @classmethod
    def from_flat(cls, tensors: tuple[Any, ...]) -> Operands:
        """The inverse of ``flat``.

        Args:
            tensors: what ``flat`` returned.
        """
        projected, recurrent, candidate_bias, scale, *state = tensors
        return cls(projected, recurrent, candidate_bias, tuple(state), scale)


class ForwardResult(NamedTuple):
    """What a forward pass returns.

    Attributes:
        hidden: hidden states [N, H], quantized.
        last: the state of each sequence after its own last time step, in memory of its own.
        saved: what the backward pass needs; nothing where the job does not train.
    """

    hidden: Tensor
    last: State
    saved: SavedTensors


class BackwardOperands(NamedTuple):
    """The tensors of a backward pass, beside those that the forward pass saved.

    Attributes:
        recurrent: as in Operands.
        candidate_bias: as in Operands.
        scale: as in Operands.
        grad_hidden: gradient of the hidden states, [N, H].
        grad_last: gradients of the last state, each part [B, H].
    """

    recurrent: Tensor
    candidate_bias: Tensor | None
    scale: Tensor | None
    grad_hidden: Tensor
    grad_last: State


class Gradients(NamedTuple):
    """What a backward pass returns.

    Attributes:
        projected: [N, G*H].
        recurrent_product: [N, G*H], of hidden @ recurrent.T. The same tensor as ``projected``,
            except for a GRU, whose reset gate multiplies a part of the product.
        state: of the initial state, each part [B, H]; None where the job does not need them.
        scale: of the hidden state's scale; None where the job does not need it.
    """

    projected: Tensor
    recurrent_product: Tensor
    state: tuple[Tensor | None, ...]
    scale: Tensor | None


class Engine(Protocol):
    """Runs a cell over time, forward and backward.

    ``forward`` is called once for a job. ``backward`` is called on the same engine object, after
    it and only if ``job.training``; as often as autograd runs backward through the result. Autograd
    records neither. A factory makes the engine (see autoquant.kernels.recurrent.registry).
    """

    def forward(self, job: Job, operands: Operands) -> ForwardResult:
        """Run over time.

        Args:
            job: what is computed.
            operands: the tensors; all but ``projected`` must not be changed.
        """

    def backward(self, job: Job, operands: BackwardOperands, saved: SavedTensors) -> Gradients:
        """Run back in time.

        Args:
            job: the same as in the forward pass.
            operands: the tensors; none must be changed.
            saved: what the forward pass saved.
        """
