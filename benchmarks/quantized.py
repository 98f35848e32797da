"""autoquant's side: a module quantized by a uniform plan, its packed file, and that file loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoquant.artifact import packed_file
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.task import Example
from autoquant.training.qat import build_candidate


class OneBatchTask:
    """A task with a single batch, which is enough to calibrate on.

    Args:
        module: the float model.
        inputs: the batch.
    """

    name = metric = "one batch"
    direction = "minimize"

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self._module = module
        self._inputs = inputs.detach()

    def build_model(self) -> nn.Module:
        return self._module

    def steps_per_epoch(self) -> int:
        return 1

    def batches(self, seed: int, start: int = 0) -> Iterator[Tensor]:
        while True:
            yield self._inputs

    def loss(self, model: nn.Module, batch: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return first_output(model(batch)).sum(), None

    def score(self, model: nn.Module, split: str) -> float:
        return float(self.loss(model, self._inputs, None)[0])

    def example(self) -> Example:
        return Example((self._inputs,), 1)


def first_output(output: Any) -> Tensor:
    """The output of a module that may return its state too."""
    return output if isinstance(output, Tensor) else output[0]


class QuantizedModule:
    """A module with quantizers, calibrated; ``module`` is what trains.

    Args:
        float_module: is not changed.
        choice: of every layer.
        scheme: how numbers become codes.
        inputs: to calibrate on.
    """

    def __init__(
        self, float_module: nn.Module, choice: LayerChoice, scheme: Scheme, inputs: Tensor
    ) -> None:
        prepared = prepare(float_module)
        self.network: Network = describe(prepared, None)
        self.plan = Plan.uniform(self.network.names, choice)
        self.scheme = scheme
        task: Any = OneBatchTask(float_module, inputs)
        self.module = build_candidate(
            prepared, self.network, self.plan, scheme, task, method="split", seed=0
        )

    def pack(self, path: Path) -> int:
        """Write the packed file; returns its bytes."""
        return packed_file.save(path, self.module, self.network, self.plan, self.scheme)
