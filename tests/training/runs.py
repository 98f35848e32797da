"""Models, a task of toys and short runs that the tests of training share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Training
from autoquant.tasks.language import LanguageTask
from autoquant.training import qat
from autoquant.training.checkpoint import TrainingRun
from autoquant.training.loop import train
from tests.toys import described

QUICK = Training(steps=12, lr=0.01)


def float_model(task: LanguageTask, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task.build_model()


def quantized_model(task: LanguageTask, seed: int = 0) -> nn.Module:
    model = prepare(float_model(task, seed))
    network = described(model)
    plan = Plan.uniform(network.names, LayerChoice(3, 4))
    qat.quantize(model, network, plan, Scheme())
    qat.calibrate(model, task, seed)
    return model


MODELS = pytest.mark.parametrize("build", [float_model, quantized_model], ids=["float", "3bit"])


def quietly(
    model: nn.Module, task: Any, settings: Training, *, seed: int = 0, **rest: Any
) -> TrainingRun:
    return train(model, task, settings, seed=seed, **rest)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


class Toy:
    """The mean of the parameters' squares, or whatever ``loss`` is replaced by."""

    name, metric, direction = "toy", "square", "minimize"

    def __init__(self, loss: Any = None) -> None:
        self.carries: list[Any] = []
        self.modes: list[bool] = []
        self._loss = loss or (lambda model, step: sum((p**2).sum() for p in model.parameters()))

    def steps_per_epoch(self) -> int:
        return 10

    def batches(self, seed: int, start: int = 0) -> Iterator[int]:
        return itertools.count(start)

    def loss(self, model: nn.Module, batch: int, carry: Any) -> tuple[torch.Tensor, Any]:
        self.carries.append(carry)
        self.modes.append(model.training)
        return self._loss(model, batch), batch

    def score(self, model: nn.Module, split: str) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        return float(self._loss(model, 0))


class Stopped(Exception):
    """Somebody stops the run."""
