from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, TensorDataset

import autoquant as aq
from autoquant.errors import UserError
from autoquant.settings import settings_for

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
INSTANT = aq.Training(steps=0)


def model(outputs: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, outputs))


def task_of(net: nn.Module | None = None, **options: Any) -> aq.TeacherTask:
    data = options.pop("data", INPUTS)
    net = model() if net is None else net
    return aq.TeacherTask(net, data, data, data, batch_size=16, **options)


class Several(nn.Module):
    """Outputs of several kinds and sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.inner(x)
        return {"logits": y, "more": (100 * y[:, :1], y.argmax(1)), "none": None}


def noisy(net: nn.Module, share: float) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p += share * p.std() * torch.randn(p.shape, generator=generator)
    return net


@pytest.mark.parametrize(("score", "perfect"), [("agreement", 1.0), ("distance", 0.0)])
def test_the_model_agrees_with_itself(score: str, perfect: float) -> None:
    task = task_of(score=score)
    assert task.score(task.build_model().eval(), "valid") == perfect
    assert settings_for(task).baseline.steps == 0
    worse = [task.score(noisy(task.build_model(), share).eval(), "test") for share in (0.1, 1.0)]
    assert 0 < abs(worse[0] - perfect) < abs(worse[1] - perfect)


def test_agreement_is_the_share_of_equal_classes() -> None:
    task, other = task_of(score="agreement"), noisy(model(), 0.5)
    equal = model()(INPUTS).argmax(1) == other(INPUTS).argmax(1)
    assert task.score(other, "valid") == pytest.approx(float(equal.float().mean()))


def test_distance_is_relative_to_the_norm_of_each_output() -> None:
    task, other = task_of(Several()), Several()
    noisy(other, 0.3)
    wanted, got = Several()(INPUTS), other(INPUTS)
    pairs = [(got["logits"], wanted["logits"]), (got["more"][0], wanted["more"][0])]
    shares = [float((a - b).square().sum() / b.square().sum()) for a, b in pairs]
    assert task.score(other, "valid") == pytest.approx(math.sqrt(sum(shares) / 2), rel=1e-5)
    loss, _ = task.loss(other, (INPUTS,), None)
    assert float(loss.detach()) == pytest.approx(sum(shares) / 2, rel=1e-5)


def test_the_loss_of_agreement_is_the_cross_entropy_of_the_distribution() -> None:
    task, other = task_of(score="agreement"), noisy(model(), 0.5)
    loss, carry = task.loss(other, (INPUTS,), None)
    expected = F.cross_entropy(other(INPUTS), model()(INPUTS).softmax(1))
    torch.testing.assert_close(loss, expected)
    assert carry is None
    loss.backward()
    assert all(p.grad is None for p in task._teacher.parameters())


def test_a_score_and_a_loss_of_the_user() -> None:
    def largest(outputs: Tensor, wanted: Tensor) -> Tensor:
        return (outputs - wanted).abs().max()

    options: dict[str, Any] = {"loss": F.l1_loss, "score": largest, "direction": "minimize"}
    task, other = task_of(**options), noisy(model(), 0.5)
    assert task.metric == "largest"
    assert task.score(other, "valid") == pytest.approx(
        float(largest(other(INPUTS), model()(INPUTS)))
    )
    torch.testing.assert_close(
        task.loss(other, INPUTS, None)[0], F.l1_loss(other(INPUTS), model()(INPUTS))
    )


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)

    def forward(self, sequences: PackedSequence) -> Tensor:
        return self.rnn(sequences)[1][0]


DATA: dict[str, Any] = {
    "a tensor": INPUTS,
    "tensors": (INPUTS,),
    "a dataset": TensorDataset(INPUTS),
    "a loader": DataLoader(TensorDataset(INPUTS), batch_size=16, shuffle=True),
    "a loader of mappings": DataLoader([{"input": x} for x in INPUTS], batch_size=16),
}


@pytest.mark.parametrize("kind", DATA)
def test_inputs_of_any_form(kind: str) -> None:
    task = task_of(data=DATA[kind])
    assert task.steps_per_epoch() == 3
    assert task.score(task.build_model(), "valid") == 0.0
    assert len(next(iter((*task.example().inputs, *task.example().keywords.values())))) == 16


def test_a_model_of_half_precision_teaches_in_float32() -> None:
    task = task_of(model().to(torch.bfloat16))
    assert task.build_model()(INPUTS).dtype == torch.float32
    assert task.score(task.build_model(), "valid") == 0.0


def test_labels_may_be_left_out_by_unpack() -> None:
    labelled = DataLoader(TensorDataset(INPUTS, torch.zeros(48)), batch_size=16)
    task = task_of(data=labelled, unpack=lambda batch: batch[0])
    assert task.score(task.build_model(), "test") == 0.0


def test_packed_sequences() -> None:
    loader = DataLoader(
        INPUTS.view(8, 6, 6), batch_size=4, collate_fn=lambda x: pack_sequence([*x])
    )
    task = task_of(Sequences(), data=loader)
    assert task.example().units == 4
    assert task.score(task.build_model(), "valid") == 0.0


def test_a_search_without_labels_and_without_training(tmp_path: Path) -> None:
    """A calibrated plan and a packed file at once, of a published model."""
    settings = aq.Search("3x", trials=2, references=(4,), qat=INSTANT, final=INSTANT, device="cpu")
    task = task_of(score="agreement")
    found = aq.search(task, settings, study=tmp_path / "study", progress=False)
    assert found.best is not None
    assert (found.baseline.score, found.baseline.steps, found.best.steps) == (1.0, 0, 0)
    assert "calibrated, not trained" in str(found)
    applied = aq.apply(tmp_path / "study", task, progress=False)
    assert applied.valid == found.best.score
    loaded = aq.load(applied.artifact, model())
    assert task.score(loaded, "test") == applied.test > 0.5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"score": "accuracy"}, "score must be one of agreement, distance, or an import path, got"),
        ({"score": F.l1_loss}, "direction must be minimize or maximize where score is a function"),
        ({"output": 0.5}, "output must be a key, a number or a function .*, got 0.5"),
        ({"data": torch.zeros(0, 6)}, "train must have at least one sample, got none"),
    ],
    ids=["score", "direction", "output", "data"],
)
def test_what_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        task_of(**options)


def test_agreement_needs_classes() -> None:
    task = task_of(model(1), score="agreement")
    with pytest.raises(UserError, match=r"outputs \[N, classes, ...\] .*, got \(16, 1\)"):
        task.score(task.build_model(), "valid")


def test_the_weights_come_with_the_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pretrained must be left out for a TeacherTask"):
        aq.search(task_of(), aq.Search("3x", pretrained=model()), study=tmp_path / "study")
