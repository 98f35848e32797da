"""The precision, the size and the weights of a float model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from autoquant.errors import UserError
from autoquant.graph.prepare import prepare
from autoquant.training.float_model import (
    build_float_model,
    check_new_weights,
    measure_size,
)
from tests.progress.told import Told


def test_buffers_count_in_bytes_but_not_as_parameters() -> None:
    assert measure_size(nn.BatchNorm1d(3)) == (4 * 3 * 4 + 8, 6)


class Built:
    """A task that is nothing but a model."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build_model = build


OLD = nn.Linear(3, 2)


class Constant(nn.Linear):
    """Begins with zeros."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


def pretrained_body() -> nn.Module:
    """Old weights below, new ones above."""
    return nn.Sequential(OLD, nn.Linear(2, 2))


@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(3, 2), lambda: Constant(3, 2), pretrained_body]
)
def test_new_weights(build: Callable[[], nn.Module]) -> None:
    task: Any = Built(build)
    check_new_weights(task)


@pytest.mark.parametrize("build", [lambda: OLD, lambda: copy.deepcopy(OLD)], ids=["it", "copy"])
def test_old_weights_are_no_scratch(build: Callable[[], nn.Module]) -> None:
    task: Any = Built(build)
    with pytest.raises(UserError, match="init_from=scratch must have a task that builds a model"):
        check_new_weights(task)


def test_lines_say_what_quantized_plans_do_otherwise() -> None:
    table = nn.Embedding(9, 6, max_norm=1.0)
    task: Any = Built(
        lambda: nn.Sequential(table, prune.l1_unstructured(nn.Linear(6, 6), "bias", 2))
    )
    told = Told()
    build_float_model(task, told)
    pruned, limited = told.lines
    assert pruned.startswith(
        "pruning is baked in: plans train the zeros of 1.bias like other weights"
    )
    assert limited == "max_norm of 0 is applied to the trained table, once"


def test_a_model_of_half_precision_takes_its_old_inputs() -> None:
    class Half:
        own = nn.Linear(3, 2).half()

        def build_model(self) -> nn.Module:
            return self.own

    task: Any = Half()
    model = build_float_model(task)
    inputs = torch.ones(4, 3, dtype=torch.float16)
    assert model(inputs).dtype == prepare(model)(inputs).dtype == torch.float32
    assert task.own.weight.dtype == torch.float16
