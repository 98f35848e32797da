"""Scores of a model, and the best weights of a run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoquant.errors import Diverged, UserError
from autoquant.settings import Training
from autoquant.training.loop import train
from autoquant.training.scoring import score
from tests.training.runs import Toy, float_model, quantized_model, quietly


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_score_restores_the_mode(mode):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(mode)
    assert score(model, Toy(), "valid") == pytest.approx(
        sum(float(p.detach().square().sum()) for p in model.parameters())
    )
    assert all(module.training is mode for module in model.modules())


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_score_restores_the_mode_when_the_task_fails(mode):
    def fail(model: nn.Module, split: str) -> float:
        raise RuntimeError("no data")

    toy = Toy()
    toy.score = fail
    model = nn.Linear(2, 2).train(mode)
    with pytest.raises(RuntimeError, match="no data"):
        score(model, toy, "valid")
    assert model.training is mode


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_score_must_be_finite(value):
    toy = Toy()
    toy.score = lambda model, split: value
    model = nn.Linear(2, 2)
    with pytest.raises(Diverged, match=f"square must be finite, got {value}"):
        score(model, toy, "valid")
    assert model.training


@pytest.mark.parametrize("value", [None, torch.ones(2), "0.5"], ids=["None", "tensor", "str"])
def test_score_must_be_a_number(value):
    toy = Toy()
    toy.score = lambda model, split: value
    with pytest.raises(UserError, match="the score of the task toy must be one number, got"):
        score(nn.Linear(2, 2), toy, "valid")


def test_score_quantizes_each_weight_once(task):
    model = quantized_model(task)
    calls = []
    quantizer = model.decoder.parametrizations.weight[0]
    quantizer.register_forward_hook(lambda *_: calls.append(1))
    score(model, task, "valid")
    assert len(calls) == 1
    assert len(list(task._windows("valid", 0, 0))) > 1


def test_the_best_of_the_scored_weights_are_kept(task, monkeypatch):
    model, states, values = float_model(task), [], iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr("autoquant.training.loop.score", lambda *_: next(values))

    def copied(step: int, value: float) -> None:
        states.append({name: each.clone() for name, each in model.state_dict().items()})

    settings = Training(steps=20, lr=0.03, scores=3, keep="best")
    quietly(model, task, settings, on_score=copied)
    assert len(states) == 3
    kept = model.state_dict()
    assert all(torch.equal(kept[name], each) for name, each in states[1].items())


def test_the_highest_score_is_the_best_where_higher_is_better():
    toy = Toy()
    toy.direction = "maximize"  # of a loss that training brings down: the first score is the best
    model = nn.Linear(3, 2)
    run = train(
        model,
        toy,
        Training(steps=20, lr=0.05, scores=3, keep="best"),
        seed=0,
    )
    assert score(model, toy, "probe") == run.scores[0][1]
