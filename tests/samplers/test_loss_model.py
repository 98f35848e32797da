"""Losses that are predicted from the sensitivity and from the scores of trained plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoquant.samplers import loss_model
from autoquant.samplers.loss_model import LossModel, Observation
from autoquant.samplers.loss_tables import LossTables
from tests.samplers.test_program_sampler import SENSITIVITY, SPACE


def observed(count: int, seed: int = 0) -> LossModel:
    """Losses of random plans, whose true factors are half of those that were estimated."""
    random = np.random.default_rng(seed)
    tables = LossTables.of(SPACE, SENSITIVITY)
    drawn = [
        tuple(int(random.integers(len(d.choices))) for d in SPACE.dimensions) for _ in range(count)
    ]
    losses = [3.0 + 0.5 * float(tables.features(p).sum()) + random.normal(0, 1e-3) for p in drawn]
    observations = tuple(Observation(p, loss) for p, loss in zip(drawn, losses, strict=True))
    return LossModel(tables, observations, 1e-3)


def test_the_common_factor_is_found() -> None:
    expected = observed(40).expected()
    assert expected[0] == pytest.approx(3.0, abs=0.05)
    factors = expected[1 : 1 + len(SPACE.dimensions)]
    bits = [i for i, d in enumerate(SPACE.dimensions) if d.field != "width"]
    assert np.median(factors[bits]) == pytest.approx(0.5, abs=0.1)


def test_draws_have_the_mean_and_the_spread_of_the_prediction() -> None:
    model, random = observed(12), np.random.default_rng(1)
    point = tuple(0 for _ in SPACE.dimensions)
    row = model._regressors(point)
    draws = np.array([model.sample(random) @ row for _ in range(4000)])
    mean, deviation = model.predict(point)
    assert draws.mean() == pytest.approx(mean, abs=5 * draws.std() / 4000**0.5)
    assert draws.std() < deviation * 1.05  # which has the misfit of the linear form as well


def test_without_observations_the_estimates_are_predicted() -> None:
    tables = LossTables.of(SPACE, SENSITIVITY)
    point = tuple(0 for _ in SPACE.dimensions)
    mean, deviation = LossModel(tables).predict(point)
    assert mean == pytest.approx(float(tables.features(point).sum()))
    assert deviation > 0


@pytest.mark.parametrize("count", [1, 5, 40, 300])
def test_both_forms_of_the_regression_agree(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved for observations, and for coefficients as with many observations."""
    point, few = tuple(0 for _ in SPACE.dimensions), observed(count)
    expected = few.expected(), few.sample(np.random.default_rng(0)), few.predict(point)
    monkeypatch.setattr(loss_model, "MANY", 0)
    many = replace(few)
    found = many.expected(), many.sample(np.random.default_rng(0)), many.predict(point)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-7, abs=1e-9)
