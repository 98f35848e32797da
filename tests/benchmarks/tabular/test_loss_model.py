"""The loss model against the same regression written with coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tabular.loss_model import WIDE, WIDTH_DEVIATION, LossModel, Scored

RANDOM = np.random.default_rng(0)
INCREASES = RANDOM.random((30, 4))
WIDTHS = RANDOM.integers(0, 2, (30, 2)).astype(float)
TRUE = 2.0 + INCREASES @ [1.0, 1.0, 4.0, 0.2] + 0.05 * RANDOM.standard_normal(30)
SCORED = [Scored(row, row % 3 == 0, float(TRUE[row] + 0.5 * (row % 3 == 0))) for row in range(20)]


def design(model: LossModel, rows: np.ndarray, short: np.ndarray, unit: float) -> np.ndarray:
    """Each feature times its prior deviation, for the formula of the module."""
    h, total = model.hyperparameters, INCREASES.sum(1)[rows] / unit
    features = [WIDE * np.ones(len(rows)), WIDE * short, WIDE * total, WIDE * total * short]
    features += [*(h.correction * INCREASES[rows] / unit).T]
    features += [*(WIDTH_DEVIATION * WIDTHS[rows]).T]
    features += [*(WIDTH_DEVIATION * WIDTHS[rows] * short[:, None]).T]
    own = h.residual * (rows[:, None] == np.arange(30))
    return np.column_stack([*features, own, own * short[:, None]])


@pytest.mark.parametrize("noise", [None, 0.1])
@pytest.mark.parametrize("corrections", [True, False])
def test_the_posterior_is_that_of_a_ridge_regression(noise: float | None, corrections: bool):
    model = LossModel(INCREASES, WIDTHS, SCORED, noise, corrections)
    rows, short = np.arange(20), np.arange(20) % 3 == 0
    losses = np.array([s.loss for s in SCORED])
    center, scale = losses.mean(), losses.std()
    phi = design(model, rows, short.astype(float), INCREASES.sum(1)[:20].std())
    precision = np.eye(phi.shape[1]) + phi.T @ phi / (model.hyperparameters.noise**2 + 1e-6)
    weights = np.linalg.solve(
        precision, phi.T @ (losses - center) / scale / (model.hyperparameters.noise**2 + 1e-6)
    )
    new = np.arange(15, 30)
    phi_new = design(model, new, np.zeros(15), INCREASES.sum(1)[:20].std())
    mean, covariance = model.posterior(new)
    assert mean == pytest.approx(center + scale * phi_new @ weights, rel=1e-4)
    expected = scale**2 * phi_new @ np.linalg.solve(precision, phi_new.T)
    assert covariance == pytest.approx(expected, rel=1e-2, abs=1e-5 * scale**2)


def test_corrections_find_which_dimension_counts_more():
    rows = np.arange(20, 30)
    errors = [
        np.abs(LossModel(INCREASES, WIDTHS, SCORED, None, c).posterior(rows)[0] - TRUE[rows]).mean()
        for c in (True, False)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_draws_have_the_mean_and_the_covariance_of_the_posterior():
    model, rows = LossModel(INCREASES, WIDTHS, SCORED), np.arange(18, 24)
    mean, covariance = model.posterior(rows)
    draws = model.samples(rows, 20_000, np.random.default_rng(1))
    assert draws.mean(0) == pytest.approx(mean, abs=4 * np.sqrt(covariance.max() / 20_000))
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.05 * covariance.max())
