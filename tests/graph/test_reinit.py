"""Initial weights of a model that is widened before it has been trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoquant.graph.reinit import reinitialize
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.toys import language_model, plan_of, prepared


def grown(model: nn.Module, width: float, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """A prepared model, and the same grown and reinitialized."""
    small, network = prepared(model)
    plan: Plan = plan_of(network, LayerChoice(), rnn__l0=width, embedding=width)
    wide, after = widen(small, network, WideningRequest(plan, Scheme(), "even", seed))
    reinitialize(wide, small, network, after, seed)
    return small, wide


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in model.named_parameters()}


def test_weights_that_have_not_grown_stay() -> None:
    small, wide = grown(language_model(), 2.0)
    before, after = weights(small), weights(wide)
    same = [name for name in before if before[name].shape == after[name].shape]
    assert "decoder.weight" in same
    assert all(torch.equal(before[name], after[name]) for name in same)


def test_no_two_rows_are_equal() -> None:
    _, wide = grown(language_model(), 2.0)
    for name, weight in weights(wide).items():
        if weight.ndim == 2:
            assert len(torch.unique(weight, dim=0)) == len(weight), name
            assert torch.unique(weight, dim=1).shape == weight.shape, name


def test_the_variance_falls_with_the_fan_in() -> None:
    small, wide = grown(language_model(embedding=32, hidden=64), 2.0)
    before, after = weights(small), weights(wide)
    for name, ratio in {"rnn.l0.weight_hh": 0.5, "embedding.weight": 1.0}.items():
        expected = ratio * float(before[name].square().mean())
        assert float(after[name].square().mean()) == pytest.approx(expected, rel=0.1)


def test_seed() -> None:
    draws = [
        weights(grown(language_model(), 1.5, seed)[1])["rnn.l0.weight_hh"] for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
