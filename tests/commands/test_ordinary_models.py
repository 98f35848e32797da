"""Models that users have, from their training to the packed file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

import autoquant
from autoquant.errors import UserError
from autoquant.tasks.supervised import SupervisedTask

SHORT = autoquant.Training(steps=3)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def pruned() -> nn.Module:
    model = net()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


def with_complex_buffer() -> nn.Module:
    model = net()
    model.register_buffer("phases", torch.ones(2, dtype=torch.complex64) * 1j)
    return model


class Experts(nn.Module):
    """The second layer never gets a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.first(inputs)
        chosen = inputs[:, 0] > 99
        outputs[chosen] = self.second(inputs[chosen])
        return outputs


class Auxiliary(nn.Module):
    """A second output while training only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.other = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Any:
        hidden = F.relu(self.body(inputs))
        return (self.head(hidden), self.other(hidden)) if self.training else self.head(hidden)


def of_both(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], targets) + F.cross_entropy(outputs[1], targets)


class Words(nn.Module):
    """Numbers that are rounded look up a table of that kind."""

    def __init__(self) -> None:
        super().__init__()
        options: dict[str, Any] = {"max_norm": 1.0, "sparse": True, "padding_idx": 0}
        self.table, self.out = nn.Embedding(9, 8, **options), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.table(inputs.abs().round().long()).sum(1))


def data(seed: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


def task_of(model: nn.Module | Callable[[], nn.Module], **options: Any) -> SupervisedTask:
    return SupervisedTask(model, data(0), data(1), data(2), batch_size=16, **options)


def searched(task: SupervisedTask, study: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {"budget": "12kB", "trials": 1, "references": (2,), "sensitivity": 1}
    settings |= {"device": "cpu", "baseline": SHORT, "qat": SHORT, "final": SHORT}
    found = autoquant.search(
        task, autoquant.Search(**settings | changes), study=study, progress=False
    )
    assert {outcome.state for outcome in found.outcomes} == {"complete"}


MODELS: dict[str, Callable[[], SupervisedTask]] = {
    "pruned instance": lambda: task_of(pruned()),
    "frozen": lambda: task_of(net().requires_grad_(False)),
    "complex buffer": lambda: task_of(with_complex_buffer),
    "expert without rows": lambda: task_of(Experts),
    "float64": lambda: task_of(lambda: net().double()),
    "auxiliary head": lambda: task_of(Auxiliary, loss=of_both),
    "table with max_norm, sparse, padding": lambda: task_of(Words),
}


@pytest.mark.parametrize("name", MODELS)
def test_searched_and_applied(name: str, tmp_path: Path) -> None:
    """A packed file computes what was trained, or apply fails."""
    torch.manual_seed(0)
    task, scheme = MODELS[name](), autoquant.Scheme(granularity="tensor")
    searched(task, tmp_path, quantizer=scheme)
    applied = autoquant.apply(tmp_path, task, trial="w2", progress=False)
    loaded = autoquant.load(applied.artifact, task.build_model())
    assert task.score(loaded, "test") == applied.test


def test_an_instance_has_no_new_weights(tmp_path: Path) -> None:
    task = task_of(net())
    searched(task, tmp_path / "search")
    line = "init_from=scratch must have a task that builds a model with new weights"
    with pytest.raises(UserError, match=line):
        autoquant.apply(tmp_path / "search", task, trial="w2", init_from="scratch", progress=False)
    grid = autoquant.Sweep(weight_bits=(2,), init_from="scratch")
    with pytest.raises(UserError, match=line):
        autoquant.sweep(task, sweep=grid, study=tmp_path / "sweep", progress=False)
    assert not (tmp_path / "sweep").exists()
