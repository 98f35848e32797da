"""What a user's function is told after each training step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoquant.errors import Diverged, RunError
from autoquant.settings import Training
from autoquant.training.callbacks import StepResult, in_turn, is_from_callback
from autoquant.training.candidate import failure_of
from autoquant.training.loop import train
from autoquant.training.schedule import learning_rate_factor
from tests.training.runs import Stopped, Toy, quietly

SETTINGS = Training(steps=6, lr=0.5, warmup=0.3, scores=2)  # scored after steps 2 and 4


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 2)


def followed(settings: Training = SETTINGS, **options: Any) -> list[StepResult]:
    results: list[StepResult] = []
    quietly(model(), Toy(), settings, label="trial 3", on_step=results.append, **options)
    return results


def test_each_step_is_told() -> None:
    results = followed()
    assert [(r.run, r.step, r.steps) for r in results] == [("trial 3", i, 6) for i in range(1, 7)]
    assert [r.lr for r in results] == [0.5 * learning_rate_factor(i, 6, 0.3) for i in range(6)]
    first = sum(float((p.detach() ** 2).sum()) for p in model().parameters())
    assert float(results[0].loss) == pytest.approx(first)
    for result in results:
        assert (result.loss.shape, result.loss.requires_grad) == ((), False)


def test_the_learning_rate_is_that_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real = torch.optim.AdamW.step

    def step(optimizer: Any, *args: Any, **options: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return real(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert [result.lr for result in followed()] == rates


def test_a_step_that_was_scored_has_its_score() -> None:
    scores: list[tuple[int, float]] = []
    results = followed(on_score=lambda step, score: scores.append((step, score)))
    assert [(r.step, r.score) for r in results if r.score is not None] == scores
    assert [step for step, _ in scores] == [2, 4]


def test_the_step_that_ends_a_run_by_its_score_is_told_first() -> None:
    results: list[StepResult] = []

    def on_score(step: int, score: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        quietly(model(), Toy(), SETTINGS, on_step=results.append, on_score=on_score)
    assert [result.step for result in results] == [1, 2]


def test_a_loss_of_one_element_is_a_number() -> None:
    results: list[StepResult] = []
    toy = Toy(lambda model, step: (model.weight**2).sum().reshape(1))
    quietly(model(), toy, Training(steps=1, scores=0), on_step=results.append)
    assert results[0].loss.shape == ()


def test_the_result_of_a_training_does_not_depend_on_it() -> None:
    plain, told = model(), model()
    train(plain, Toy(), SETTINGS, seed=0)
    train(told, Toy(), SETTINGS, seed=0, on_step=lambda result: None)
    assert torch.equal(plain.weight, told.weight)


def test_a_resumed_run_does_not_tell_its_steps_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    steps: list[int] = []

    def on_step(result: StepResult) -> None:
        steps.append(result.step)
        if len(steps) == 3:
            raise Stopped

    options: dict[str, Any] = {"on_step": on_step, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(Stopped):
        quietly(model(), Toy(), SETTINGS, **options)
    assert quietly(model(), Toy(), SETTINGS, **options).steps == 6
    assert steps == [1, 2, 3, 4, 5, 6]
    quietly(model(), Toy(), SETTINGS, **options)
    assert len(steps) == 6


@pytest.mark.parametrize(
    "error",
    [RunError("enough"), Diverged("enough"), MemoryError(), ValueError("x")],
    ids=lambda error: type(error).__name__,
)
def test_its_error_is_not_one_of_the_training(error: Exception) -> None:
    def on_step(result: StepResult) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        quietly(model(), Toy(), SETTINGS, on_step=on_step)
    assert raised.value is error
    assert is_from_callback(error)
    assert failure_of(error) is None
    assert failure_of(Diverged(f"the loss is {math.nan}")) is not None


def test_several_functions_are_called_in_turn() -> None:
    told: list[str] = []
    call = in_turn(None, lambda value: told.append(f"1: {value}"), lambda value: told.append("2"))
    assert call is not None
    call("x")
    assert told == ["1: x", "2"]
    assert in_turn(None, None) is None
