"""DataTask: what tasks on a user's data have in common, whatever their loss and score are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from autoquant.settings import Search
from autoquant.task import Direction, Example, Split
from autoquant.tasks.data.splits import TaskData
from autoquant.tasks.model_source import ModelSource, preferred_of
from autoquant.tasks.score import Pairs, Score


class DataTask(ABC):
    """A task of batches that are independent of each other.

    Args:
        source: of the models.
        data: in three splits.
        score: of a split.
        name: of the task.
        unit: what one sample is called.
        preferred: settings that suit the task; those of the class when None.
    """

    preferred: Search | None = None

    def __init__(
        self,
        source: ModelSource,
        data: TaskData,
        score: Score,
        *,
        name: str,
        unit: str,
        preferred: Search | None,
    ) -> None:
        self._source, self._data, self._score = source, data, score
        self.name, self.unit = name, unit
        self.metric: str = score.name
        self.direction: Direction = score.direction
        preferred = self.preferred if preferred is None else preferred
        self.preferred = preferred_of(preferred, trained=source.is_instance)

    def build_model(self) -> nn.Module:
        """A new model, or a copy of the one that was given.

        Raises:
            UserError: what was given for ``model`` made something else.
        """
        return self._source.build()

    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        return self._data.steps_per_epoch

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Training batches of epoch after epoch, each in another order.

        Args:
            seed: of the order of the samples, and of what a dataset draws at random.
            start: number of the first batch, from 0.
        """
        return self._data.batches(seed, start)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, None]:
        """See ``Task.loss``; there is nothing to carry.

        Args:
            model: a float or a fake-quantized model.
            batch: what ``batches`` gave.
            carry: not used.
        """

    def score(self, model: nn.Module, split: Split) -> float:
        """The score over all samples of a split.

        Args:
            model: in eval mode.
            split: "valid" or "test"; "probe" for a part of "valid".
        """
        return self._scored(self._pairs(model, split), model)

    def example(self) -> Example:
        """The first training batch, as the model is called with it."""
        return self._data.example(self._source.dtype, self.unit)

    def checks(self, model: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
        """See ``SupportsChecks``: one batch of each split.

        Args:
            model: the float model.
        """
        return self._data.checks(lambda batch: self._pair(model, batch))

    def notes(self) -> list[str]:
        """See ``SupportsChecks``: data that are not the same twice."""
        return self._data.notes()

    def _pairs(self, model: nn.Module, split: Split) -> Pairs:
        for batch in self._data.scored(split):
            yield self._pair(model, batch)

    @abstractmethod
    def _pair(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """The outputs of a model, and what they are compared with."""

    @abstractmethod
    def _scored(self, pairs: Pairs, model: nn.Module) -> float:
        """The score of pairs, which were computed by a model."""
