"""Whole training runs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoquant.errors import Diverged
from autoquant.settings import Training
from autoquant.training.checkpoint import TrainingRun
from autoquant.training.loop import train
from autoquant.training.scoring import score
from tests import toys
from tests.progress.told import Told
from tests.training.runs import (
    MODELS,
    QUICK,
    Toy,
    float_model,
    quantized_model,
    quietly,
    same_weights,
)


@MODELS
def test_the_same_seed_gives_the_same_weights(task, build):
    models = []
    for seed in (1, 1, 2):
        models.append(build(task))
        quietly(models[-1], task, QUICK, seed=seed)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_training_lowers_the_score(task):
    model = float_model(task)
    before = score(model, task, "valid")
    run = quietly(model, task, Training(steps=60, lr=0.03))
    assert run.steps == 60
    assert run.seconds > 0
    assert score(model, task, "valid") < 0.8 * before


def test_a_frozen_model_is_not_trained(task):
    model, again = float_model(task).requires_grad_(False), float_model(task)
    told = Told()
    run = train(model, task, QUICK, seed=0, label="float baseline", progress=told)
    assert run == TrainingRun()
    assert same_weights(model, again)
    assert told.lines == ["float baseline: every parameter is frozen, so nothing is trained"]


def test_of_a_frozen_model_only_the_scales_are_trained(task):
    model = quantized_model(task)
    frozen = {p for name, p in model.named_parameters() if not name.endswith("log_scale")}
    before = {p: p.detach().clone() for p in model.parameters()}
    for parameter in frozen:
        parameter.requires_grad_(False)
    assert quietly(model, task, QUICK).steps == QUICK.steps
    changed = {p for p in before if not torch.equal(before[p], p)}
    assert changed
    assert not changed & frozen


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_a_loss_that_is_not_finite_ends_the_run(value, monkeypatch):
    monkeypatch.setattr("autoquant.training.loop.FINITE_CHECK_STEPS", 5)
    toy = Toy(lambda model, step: model.weight.sum() * (value if step >= 7 else 1.0))
    with pytest.raises(Diverged, match=r"the training loss must be finite, got .* at step 10"):
        quietly(nn.Linear(2, 2), toy, Training(steps=50))
    assert len(toy.carries) == 10


def test_a_short_run_looks_at_its_last_loss():
    toy = Toy(lambda model, step: model.weight.sum() * math.nan)
    with pytest.raises(Diverged, match="at step 3"):
        quietly(nn.Linear(2, 2), toy, Training(steps=3))


def test_a_score_that_is_not_finite_ends_the_run():
    toy = Toy()
    toy.score = lambda model, split: math.inf
    with pytest.raises(Diverged, match="square must be finite, got inf"):
        quietly(nn.Linear(2, 2), toy, Training(steps=10, scores=1))
    assert len(toy.carries) == 5


def test_the_carry_goes_from_step_to_step():
    toy = Toy()
    quietly(nn.Linear(2, 2), toy, Training(steps=4))
    assert toy.carries == [None, 0, 1, 2]


def test_length_follows_the_task_s_epochs():
    run = quietly(nn.Linear(2, 2), Toy(), Training(epochs=1.5))
    assert run == TrainingRun(steps=15, seconds=run.seconds)


def test_a_score_in_the_middle_does_not_change_the_run(task):
    """Scoring draws nothing at random, and training goes on in training mode."""
    plain, scored = float_model(task), float_model(task)
    quietly(plain, task, QUICK)
    quietly(scored, task, Training(steps=12, lr=0.01, scores=4))
    assert same_weights(plain, scored)


def test_training_is_in_training_mode_throughout():
    toy = Toy()
    quietly(nn.Linear(2, 2).eval(), toy, Training(steps=9, scores=2))
    assert toy.modes == [True] * 9


def test_steps_do_without_denormals():
    seen: list[float] = []

    def loss(model: nn.Module, step: int) -> torch.Tensor:
        seen.append(toys.half_of_the_smallest())
        return (next(model.parameters()) ** 2).sum()

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    quietly(nn.Linear(1, 1), Toy(loss), Training(steps=2))
    assert set(seen) == {0.0}
    assert toys.half_of_the_smallest() > 0.0


def test_a_bar_counts_the_steps_and_names_the_split_of_scores(task) -> None:
    told = Told()
    settings = Training(steps=40, lr=0.03, scores=2)
    run = train(float_model(task), task, settings, seed=0, label="qat 7", progress=told)
    (bar,) = told.bars
    assert (bar.label, bar.done, bar.total, bar.unit) == ("qat 7", 40, 40, "step")
    *_, (_, last) = run.scores
    assert f", {task.metric} {last:.5g} (probe)" in bar.note
    assert bar.note.startswith("loss ")
