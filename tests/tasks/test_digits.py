from __future__ import annotations

from importlib import util
from itertools import islice
from typing import Any

import pytest
import torch

from autoquant.errors import UserError
from autoquant.seeds import seed_everything
from autoquant.settings import Training
from autoquant.tasks.digits import digits
from autoquant.training.loop import train
from autoquant.training.scoring import score

pytest.importorskip("sklearn")


@pytest.mark.parametrize("model", ["gru", "lstm", "conv"])
def test_it_can_be_learned(model: Any) -> None:
    task = digits(model, hidden=32, channels=8)
    seed_everything(0)
    built = task.build_model()
    train(built, task, Training(steps=150, lr=0.01), seed=0)
    assert score(built, task, "valid") > 0.8
    assert task.direction == "maximize"


def _splits() -> list[Any]:
    """The batches of each split."""
    task = digits(batch_size=64)
    train = islice(task.batches(0), task.steps_per_epoch())
    return [train, task._data.scored("valid"), task._data.scored("test")]


def test_splits_never_change_and_share_nothing() -> None:
    data, again = ([[*zip(*split, strict=True)] for split in _splits()] for _ in range(2))
    assert [len(torch.cat(classes)) for _, classes in data] == [1197, 300, 300]
    assert torch.equal(data[2][1][0], again[2][1][0])
    images = torch.cat([torch.cat(images) for images, _ in data]).flatten(1)
    assert len(images) == 1797
    assert len(images.unique(dim=0)) == len(images)
    assert images.min() == 0
    assert images.max() == 1


def test_shapes() -> None:
    assert digits("gru").example().inputs[0].shape == (64, 8, 8)
    assert digits("conv", batch_size=5).example().inputs[0].shape == (5, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model": "rnn"}, "model must be one of gru, lstm, conv, got 'rnn'"),
        ({"hidden": 0}, "hidden must be a whole number from 1 up, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 up, got 0"),
    ],
)
def test_what_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        digits(**options)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.tasks.digits.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"scikit-learn installed \(pip install 'autoquant-torch\[digits"
    ):
        digits()
    assert util.find_spec("sklearn") is not None
