from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.tasks.distillation import distilled_loss

N, C, T = 6, 4, 3
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 3.0])


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(N, C, *shape, generator=torch.Generator().manual_seed(seed))


def taught(outputs: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """The mean of -sum p log q over the positions that count, written out."""
    terms = -(teacher.softmax(1) * outputs.log_softmax(1)).sum(1)
    return terms[counted].mean()


LOSSES: dict[str, tuple[Any, int]] = {
    "plain": (F.cross_entropy, -100),
    "a module": (nn.CrossEntropyLoss(), -100),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), -100),
    "partial": (partial(F.cross_entropy, ignore_index=2), 2),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=1), 1),
}


@pytest.mark.parametrize("shape", [(), (T,)], ids=["rows", "sequences"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_losses_of_classes(name: str, shape: tuple[int, ...], alpha: float) -> None:
    loss, ignored = LOSSES[name]
    outputs, teacher = logits(0, *shape), logits(1, *shape)
    targets = torch.randint(C, (N, *shape), generator=torch.Generator().manual_seed(2))
    targets.view(-1)[0] = ignored
    expected = alpha * taught(outputs, teacher, targets != ignored)
    expected = expected + (1 - alpha) * loss(outputs, targets)
    torch.testing.assert_close(distilled_loss(loss, outputs, teacher, targets, alpha), expected)


def test_targets_that_are_probabilities() -> None:
    outputs, teacher, targets = logits(0), logits(1), logits(2).softmax(1)
    expected = 0.5 * taught(outputs, teacher, torch.ones(N, dtype=torch.bool))
    expected = expected + 0.5 * F.cross_entropy(outputs, targets)
    result = distilled_loss(F.cross_entropy, outputs, teacher, targets, 0.5)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("loss", [F.l1_loss, nn.MSELoss(), partial(F.huber_loss, delta=2.0)])
def test_losses_of_real_numbers_compare_with_the_teacher(loss: Any) -> None:
    outputs, teacher, targets = logits(0), logits(1), logits(2)
    expected = 0.25 * loss(outputs, teacher) + 0.75 * loss(outputs, targets)
    torch.testing.assert_close(distilled_loss(loss, outputs, teacher, targets, 0.25), expected)


@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss()])
def test_binary_losses_compare_with_the_teacher_s_probabilities(loss: Any) -> None:
    outputs, teacher, targets = logits(0), logits(1), logits(2).sigmoid()
    expected = 0.25 * loss(outputs, teacher.sigmoid()) + 0.75 * loss(outputs, targets)
    torch.testing.assert_close(distilled_loss(loss, outputs, teacher, targets, 0.25), expected)


@pytest.mark.parametrize(
    "loss", [nn.PoissonNLLLoss(), nn.KLDivLoss(), lambda a, b: F.cross_entropy(a, b)]
)
def test_a_loss_whose_targets_are_not_known_is_refused(loss: Any) -> None:
    with pytest.raises(UserError, match="distill must be 0 unless the loss is torch's"):
        distilled_loss(loss, logits(0), logits(1), logits(2), 0.5)


@pytest.mark.parametrize(
    "targets",
    [torch.zeros(N, 1), torch.zeros(N, C).long(), "text"],
    ids=["shape", "classes", "text"],
)
def test_what_a_teacher_cannot_take_the_place_of(targets: Any) -> None:
    with pytest.raises(UserError, match=r"distill must be 0 unless the loss .*, got 0\.5"):
        distilled_loss(F.l1_loss, logits(0), logits(1), targets, 0.5)
