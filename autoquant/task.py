"""The Task protocol: a float model, its data, its loss and its score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

Direction = Literal["minimize", "maximize"]
Split = Literal["probe", "valid", "test"]
SPLITS: tuple[Split, ...] = ("probe", "valid", "test")


def as_loss(score: float, direction: Direction) -> float:
    """A score, turned so that lower is better."""
    return score if direction == "minimize" else -score


class Example(NamedTuple):
    """Inputs for one forward pass, and how many units (tokens, images, frames) they hold."""

    inputs: tuple[Any, ...]
    units: int
    unit: str = "sample"


@runtime_checkable
class Task(Protocol):
    """What autoquant needs to know of a model: how to build it, train it and score it.

    Batches and carries are opaque to autoquant: whatever ``batches`` yields is handed to ``loss``,
    and the carry that ``loss`` returns is handed to the next call (the hidden state of a stateful
    recurrent model; None at the start of training and wherever a task has no use for it).

    ``score`` is read on three splits: "valid" decides, "probe" is a cheap part of it for the
    scores in the middle of a run, "test" is only looked at once a plan has been applied.
    """

    name: str
    metric: str
    direction: Direction

    def build_model(self) -> nn.Module:
        """A new float model; its initial weights follow torch's global seed."""
        ...

    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        ...

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Endless training batches from step ``start`` on; the same seed gives the same batches."""
        ...

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        """Mean loss of one batch (scalar tensor) and the carry for the next one."""
        ...

    def score(self, model: nn.Module, split: Split) -> float:
        """The metric on a split; the model is already in eval mode, gradients are off."""
        ...

    def example(self) -> Example:
        """Inputs for one forward pass, to trace shapes and count operations."""
        ...


@runtime_checkable
class SupportsDistillation(Protocol):
    """A task whose models can also learn from a teacher's outputs (``distill`` above 0)."""

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Any, carry: Any, share: float
    ) -> tuple[Tensor, Any]:
        """As ``Task.loss``, with ``share`` of the targets' weight given to the teacher's outputs.

        The teacher is in eval mode. The carry is the task's own, for both models.
        """
        ...
