from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autoquant.tasks.targets import compares_classes, counted_targets, on_device

META, ONES = torch.device("meta"), torch.ones(3)


def test_tensors_of_a_loss_go_to_the_outputs() -> None:
    module = on_device(nn.CrossEntropyLoss(weight=ONES), META)
    assert isinstance(module, nn.CrossEntropyLoss)
    assert module.weight is not None
    assert module.weight.is_meta
    partial = functools.partial(F.cross_entropy, weight=ONES, reduction="mean")
    moved = on_device(partial, META)
    assert isinstance(moved, functools.partial)
    assert moved.keywords["weight"].is_meta
    assert moved.keywords["reduction"] == "mean"
    assert not partial.keywords["weight"].is_meta
    assert on_device(F.l1_loss, META) is F.l1_loss


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (torch.tensor([0, 1, -100]), 2),
        (torch.zeros(4, 2), 4),
        ((torch.zeros(5), torch.zeros(2)), 5),
        ({"a": torch.zeros(3, dtype=torch.long)}, 3),
        (["a", "b"], 2),
        (None, 1),
    ],
    ids=["classes", "numbers", "tuple", "mapping", "list", "none"],
)
def test_how_much_of_a_batch_counts(targets: Any, count: int) -> None:
    assert counted_targets(targets, F.cross_entropy) == count


def test_class_weights_count() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    assert counted_targets(torch.tensor([0, 1, 1]), loss) == 7.0


def test_losses_of_classes() -> None:
    assert compares_classes(functools.partial(functools.partial(F.nll_loss)))
    assert compares_classes(nn.NLLLoss())
    assert not compares_classes(F.mse_loss)
