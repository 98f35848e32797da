"""A task is tried before it is searched: the user's own errors are one line with their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset

import autoquant as aq
from autoquant.analysis.task_checks import check_task_runs
from autoquant.errors import UserError
from tests.training.runs import same_weights

DATA = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
SHORT = aq.Search("9x", trials=1, references=(), qat=aq.Training(steps=0), device="cpu")


def task_of(model: Any = None, **changes: Any) -> aq.SupervisedTask:
    splits = {"train": DATA, "valid": DATA, "test": DATA}
    return aq.SupervisedTask(nn.Linear(4, 3) if model is None else model, **(splits | changes))


def failing(outputs: Tensor, targets: Tensor) -> Tensor:
    raise ValueError("no such class")


class Wrong(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 7:].max(1).values


class Lost(TensorDataset):
    def __getitem__(self, index: Any) -> Any:
        raise FileNotFoundError(2, "No such file", "images/37.png")


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "the model": (
        lambda: task_of(Wrong(4, 3)),
        "the model must run on a batch of train .*, got IndexError: .*test_task_checks.py:",
    ),
    "its arguments": (
        lambda: task_of(train=DataLoader([{"x": torch.ones(4), "y": 1}])),
        "the model must run on a batch of train .*, got TypeError: .* keyword argument 'x'",
    ),
    "the test data": (
        lambda: task_of(test=(torch.ones(3, 5), torch.ones(3))),
        "the model must run on a batch of test .*, got RuntimeError: mat1 and mat2 shapes",
    ),
    "a dataset": (
        lambda: task_of(valid=DataLoader([(torch.ones(4), 1), (torch.ones(3), 1)], batch_size=2)),
        "valid must give batches, got RuntimeError: stack expects each tensor to be equal size",
    ),
    "the loss": (
        lambda: task_of(loss=failing),
        r"loss must run on a training batch, got ValueError: no such class \(test_task_checks.py:",
    ),
    "a loss of each sample": (
        lambda: task_of(loss=nn.CrossEntropyLoss(reduction="none")),
        r"loss must be one real number in a tensor, got a tensor of float32 \[40\]",
    ),
    "a loss that is a number": (
        lambda: task_of(loss=lambda outputs, targets: 0.5),
        "loss must be one real number in a tensor, got 0.5",
    ),
    "a loss without a gradient": (
        lambda: task_of(loss=lambda outputs, targets: torch.tensor(1.0)),
        "loss must have a gradient, got a tensor without one",
    ),
    "a class in place of a loss": (
        lambda: task_of(loss=nn.CrossEntropyLoss),
        r"loss must be a function or an instance, as CrossEntropyLoss\(\), got a class",
    ),
    "a class with arguments": (
        lambda: task_of(nn.Linear),
        r"model must be made without arguments, as by lambda: Linear\(...\), got Linear: missing",
    ),
    "the score": (
        lambda: task_of(score=failing, direction="minimize"),
        "score must run on the probe split, got ValueError: no such class",
    ),
    "a score of all samples": (
        lambda: task_of(score=lambda outputs, targets: targets, direction="minimize"),
        r"what the score function <lambda> returns must be one number, got Tensor \[40\]",
    ),
    "what outputs have": (
        lambda: task_of(output="logits"),
        "output must name a part of what the model returns, a Tensor, got 'logits'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_one_line_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    make, line = CASES[name]
    with pytest.raises(UserError, match=line) as raised:
        aq.search(make(), SHORT, study=tmp_path / "study", progress=False)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "study").exists()


def test_a_teacher_that_the_loss_cannot_follow_is_refused_first(tmp_path: Path) -> None:
    settings = SHORT.changed(final=aq.Training(distill=0.5))
    task = task_of(loss=nn.MultiMarginLoss())
    with pytest.raises(UserError, match="distill must be 0 unless the loss is torch's"):
        aq.search(task, settings, study=tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()


def test_an_error_of_a_file_stays_the_user_s_own() -> None:
    with pytest.raises(FileNotFoundError, match=r"images/37\.png"):
        check_task_runs(task_of(train=Lost(*DATA)), nn.Linear(4, 3))


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    task = task_of(model, score="loss")
    before = task.build_model()
    check_task_runs(task, model)
    assert same_weights(model, before)
    assert all(module.training for module in model.modules())


def test_a_score_that_is_not_finite_yet_is_no_error() -> None:
    task = task_of(score=lambda outputs, targets: float("inf"), direction="minimize")
    assert check_task_runs(task, nn.Linear(4, 3)) == ()


class Drifting(Sampler[int]):
    start = 0

    def __iter__(self) -> Iterator[int]:
        Drifting.start += 1
        return iter([(Drifting.start + i) % 40 for i in range(4)])

    def __len__(self) -> int:
        return 4


def test_what_is_not_reproducible_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = DataLoader(TensorDataset(*DATA), sampler=Drifting(), batch_size=2)
    line = (
        "train is not reproducible: the order of BatchSampler over Drifting differs between two "
        "passes with one seed"
    )
    task = task_of(train=loader)
    assert check_task_runs(task, nn.Linear(4, 3)) == (line,)
    aq.search(task, SHORT, study=tmp_path / "study")
    assert line in capsys.readouterr().err


def test_a_task_of_the_user_s_own() -> None:
    class Own:
        name, metric, direction = "own", "error", "minimize"

        def build_model(self) -> nn.Module:
            return nn.Linear(4, 3)

        def steps_per_epoch(self) -> int:
            return 1

        def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
            while True:
                yield DATA

        def loss(self, model: nn.Module, batch: Any, carry: Any) -> Any:
            return F.cross_entropy(model(batch[0]), batch[1])

        def score(self, model: nn.Module, split: str) -> float:
            return 0.0

        def example(self) -> aq.Example:
            return aq.Example((DATA[0],), 40)

    with pytest.raises(UserError, match=r"loss must return \(loss, carry\), got a tensor"):
        check_task_runs(Own(), nn.Linear(4, 3))
