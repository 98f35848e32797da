"""What the loops of the cells have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import ForwardResult, Job, SavedTensors
from autoquant.kernels.recurrent.hidden_quantization import HiddenQuantizer
from autoquant.kernels.recurrent.packed_batch import PackedBatch

S = TypeVar("S")  # a NamedTuple of the tensors that a loop saves; its first field is ``hidden``


@dataclass(frozen=True)
class Run:
    """A job with the tensors that both of its passes read.

    Attributes:
        job: what is computed.
        batch: which rows belong to which time step.
        quantizer: of the hidden state, or None.
        recurrent: the recurrent weight, as in Operands.
        candidate_bias: as in Operands.
    """

    job: Job
    batch: PackedBatch
    quantizer: HiddenQuantizer | None
    recurrent: Tensor
    candidate_bias: Tensor | None

    @property
    def units(self) -> int:
        """Units H."""
        return self.recurrent.shape[1]


class Upstream(NamedTuple):
    """What a loop's backward pass gets beside the saved tensors.

    Attributes:
        exact: hidden states before they were quantized, [N, H].
        inside: [N, H], 0 where quantization stops the gradient and 1 elsewhere; None: all 1.
        grad: of the hidden states, [N, H], from outside the recurrence; the loop adds the
            gradients of later time steps in place.
        grad_rest: gradients of the last state without h: of an LSTM's c, [B, H].
    """

    exact: Tensor
    inside: Tensor | None
    grad: Tensor
    grad_rest: State


class LoopGradients(NamedTuple):
    """What a loop's backward pass returns.

    Attributes:
        projected: as in Gradients.
        recurrent_product: as in Gradients.
        state: as in Gradients.
    """

    projected: Tensor
    recurrent_product: Tensor
    state: tuple[Tensor | None, ...]


class Loop(Protocol[S]):
    """One cell over time, forward and backward.

    ``forward`` saves the fields of a NamedTuple, ``named`` makes that NamedTuple of them again for
    the two other methods, which together are the backward pass.
    """

    def forward(self, run: Run, projected: Tensor, state: State) -> ForwardResult:
        """Run over time.

        Args:
            run: the job and its weights.
            projected: as in Operands; may be overwritten.
            state: as in Operands.
        """

    def named(self, saved: SavedTensors) -> S:
        """The saved tensors by name.

        Args:
            saved: what ``forward`` saved.
        """

    def exact(self, run: Run, saved: S) -> Tensor:
        """Hidden states [N, H] before they were quantized; called only where they were.

        Args:
            run: the same as in the forward pass.
            saved: what it saved.
        """

    def backward(self, run: Run, saved: S, upstream: Upstream) -> LoopGradients:
        """Run back in time.

        Args:
            run: the same as in the forward pass.
            saved: what it saved.
            upstream: gradients from outside the recurrence.
        """
