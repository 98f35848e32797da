"""What the loops of the cells have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import Job, SavedTensors
from autoquant.kernels.recurrent.hidden_quantization import Rounding
from autoquant.kernels.recurrent.packed_batch import PackedBatch


@dataclass(frozen=True)
class Run:
    """A job with its tensors; fields as in Engine."""

    job: Job
    steps: PackedBatch
    rounding: Rounding | None
    recurrent: Tensor
    candidate_bias: Tensor | None

    @property
    def units(self) -> int:
        """H."""
        return self.recurrent.shape[1]


class Loop(Protocol):
    """One cell over time and back."""

    def forward(
        self, run: Run, projected: Tensor, state: State
    ) -> tuple[Tensor, State, SavedTensors]:
        """As Engine.forward. The tape begins with the hidden states."""

    def exact(self, run: Run, tape: SavedTensors) -> Tensor:
        """Hidden states [N, H] before they were rounded."""

    def backward(
        self,
        run: Run,
        tape: SavedTensors,
        exact: Tensor,
        inside: Tensor | None,
        grad: Tensor,
        grad_rest: State,
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """Run back in time.

        Args:
            exact: [N, H], hidden states before they were rounded.
            inside: [N, H], 0 where rounding stops the gradient and 1 elsewhere; None: all 1.
            grad: [N, H], of the hidden states, from outside the recurrence; what comes through
                later steps is added in place.
            grad_rest: of the last state but for h.

        Returns:
            gradients of the projected inputs [N, G*H], of the recurrent product and of the
            initial state, as in Gradients.
        """
