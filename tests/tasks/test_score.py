from __future__ import annotations

import functools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.tasks.score import SCORES, FunctionScore, joined

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


class Picky(nn.Module):
    """A loss of the user's own."""

    ignore_index = 0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=0)


def picky(outputs: Tensor, targets: Tensor, ignore_index: int = 0) -> Tensor:
    return F.cross_entropy(outputs, targets, ignore_index=ignore_index)


WEIGHTS = torch.tensor([0.0, 1.0, 2.0, 4.0])
LOSSES: dict[str, Any] = {
    "partial": functools.partial(F.cross_entropy, ignore_index=0),
    "partial of a partial": functools.partial(functools.partial(F.cross_entropy), ignore_index=2),
    "module": nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1),
    "own module": Picky(),
    "own function": picky,
    "class weights": functools.partial(F.cross_entropy, weight=WEIGHTS),
    "module with class weights": nn.CrossEntropyLoss(WEIGHTS, ignore_index=3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_over_the_targets_that_count(name: str) -> None:
    """Whatever the batches; the first of them has targets 0 only."""
    targets = torch.tensor([0, 0, 0, 1, 2, 3, 1, 0, 3, 3])
    batches = [(OUTPUTS[a:b], targets[a:b]) for a, b in ((0, 3), (3, 4), (4, 10))]
    found = SCORES["loss"](batches, LOSSES[name])
    assert found == pytest.approx(float(LOSSES[name](OUTPUTS, targets)))


def test_accuracy_is_over_the_targets_that_count() -> None:
    targets = OUTPUTS.argmax(1)
    targets[targets == 0] = 1  # wrong, but they will not count
    wrong = OUTPUTS.argmax(1) == 0
    targets[wrong] = 3
    loss = functools.partial(F.cross_entropy, ignore_index=3)
    assert bool(wrong.any())
    assert SCORES["accuracy"]([(OUTPUTS, targets)], loss) == 1.0
    assert SCORES["accuracy"]([(OUTPUTS, targets)], F.cross_entropy) < 1.0


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (None, "NoneType"),
        (torch.zeros(2), r"Tensor \[2\]"),
        (np.zeros((2, 1)), r"ndarray \[2, 1\]"),
        ((0.5, 1), "tuple"),
        ("0.5", "a str"),
    ],
    ids=["None", "tensor", "array", "tuple", "str"],
)
def test_a_score_that_is_no_number_is_refused(value: Any, came: str) -> None:
    score = FunctionScore(lambda outputs, targets: value, "f1", "maximize")
    with pytest.raises(
        UserError, match=f"the score function f1 returns must be one number, got {came}"
    ):
        score(pairs(10), F.cross_entropy)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), torch.ones(1, 1), True], ids=repr)
def test_scores_that_are_numbers(value: Any) -> None:
    score = FunctionScore(lambda outputs, targets: value, "f1", "maximize")
    assert score(pairs(10), F.cross_entropy) == 1.0


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


# --- batches one after the other ------------------------------------------------------------------


def test_tensors_of_one_shape_are_one_tensor() -> None:
    first, second = torch.zeros(2, 3), torch.ones(1, 3)
    assert torch.equal(joined([first, second]), torch.cat([first, second]))


def test_sequences_of_several_lengths_are_a_list_of_samples() -> None:
    batches = [torch.zeros(2, 5, 3), torch.ones(1, 4, 3)]
    assert [tuple(sample.shape) for sample in joined(batches)] == [(5, 3), (5, 3), (4, 3)]


def test_structures_are_kept() -> None:
    batch = {"logits": torch.zeros(2, 3), "rest": (torch.tensor(1.5), ["a", "b"], None)}
    result = joined([batch, OrderedDict(batch)])
    assert tuple(result["logits"].shape) == (4, 3)
    assert result["rest"][0].tolist() == [1.5, 1.5]
    assert result["rest"][1:] == (["a", "b", "a", "b"], [None, None])


@dataclass
class Outputs:
    logits: torch.Tensor
    scale: torch.Tensor


class Attributes(OrderedDict[str, Any]):
    """A mapping with attributes, as libraries of models return."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.mark.parametrize("kind", [Outputs, Attributes])
def test_objects_keep_their_attributes(kind: Any) -> None:
    batches = [kind(logits=torch.zeros(n, 3), scale=torch.tensor(2.0)) for n in (2, 1)]
    result = joined(batches)
    assert tuple(result.logits.shape) == (3, 3)
    assert result.scale.tolist() == [2.0, 2.0]
    assert tuple(batches[0].logits.shape) == (2, 3)


def test_batches_of_several_structures_are_listed() -> None:
    batches = [(torch.zeros(1), None), (torch.zeros(1), (torch.zeros(1),))]
    assert [first for first, _ in joined(batches)] == [torch.zeros(1)] * 2
