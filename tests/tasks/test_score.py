from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.tasks.score import SCORES, FunctionScore

OUTPUTS = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, -100, -100])


def pairs(*ends: int) -> Any:
    """The ten samples in batches that end there."""
    starts = [0, *ends[:-1]]
    return ((OUTPUTS[a:b], TARGETS[a:b]) for a, b in zip(starts, ends, strict=True))


def test_directions() -> None:
    assert {name: each.direction for name, each in SCORES.items()} == {
        "accuracy": "maximize",
        "loss": "minimize",
        "perplexity": "minimize",
    }


@pytest.mark.parametrize("ends", [(10,), (3, 10), (1, 8, 10)], ids=str)
def test_batches_do_not_matter(ends: tuple[int, ...]) -> None:
    """Ignored targets count in none of them, even where a batch has no others."""
    right = (OUTPUTS.argmax(1) == TARGETS).sum() / 8
    loss = F.cross_entropy(OUTPUTS, TARGETS)
    found = {name: each(pairs(*ends), F.cross_entropy) for name, each in SCORES.items()}
    assert found["accuracy"] == pytest.approx(float(right))
    assert found["loss"] == pytest.approx(float(loss))
    assert found["perplexity"] == pytest.approx(math.exp(loss))


def test_accuracy_of_many_positions() -> None:
    outputs, targets = torch.randn(3, 5, 7), torch.randint(5, (3, 7))
    found = SCORES["accuracy"]([(outputs, targets)], F.cross_entropy)
    assert found == pytest.approx(float((outputs.argmax(1) == targets).float().mean()))


@pytest.mark.parametrize("outputs", [torch.zeros(2), (torch.zeros(2, 3),)], ids=["flat", "tuple"])
def test_accuracy_needs_classes(outputs: Any) -> None:
    with pytest.raises(UserError, match=r"accuracy must have outputs \[N, classes, \.\.\.\]"):
        SCORES["accuracy"]([(outputs, torch.zeros(2, dtype=torch.long))], F.cross_entropy)


def test_mean_loss_of_real_targets() -> None:
    outputs, targets = torch.randn(5, 2), torch.randn(5, 2)
    found = SCORES["loss"]([(outputs[:4], targets[:4]), (outputs[4:], targets[4:])], F.mse_loss)
    assert found == pytest.approx(float(F.mse_loss(outputs, targets)))


def test_an_endless_perplexity() -> None:
    huge = [(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))]
    assert SCORES["perplexity"](huge, F.cross_entropy) == math.inf


def test_a_function_sees_a_split_as_a_whole() -> None:
    seen: list[tuple[Any, Any]] = []

    def spread(outputs: Any, targets: Tensor) -> Tensor:
        seen.append((outputs, targets))
        return targets.max() - targets.min()

    halves = [((OUTPUTS[:5], OUTPUTS[:5]), TARGETS[:5]), ((OUTPUTS[5:], OUTPUTS[5:]), TARGETS[5:])]
    assert FunctionScore(spread, "spread", "minimize")(halves, F.cross_entropy) == 103.0
    ((outputs, targets),) = seen
    assert torch.equal(outputs[1], OUTPUTS)
    assert torch.equal(targets, TARGETS)
