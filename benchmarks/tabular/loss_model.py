"""LossModel: the loss of plans, from loss increases that the scores of trained plans correct.

The loss of plan p after a rung is ``a + b * sum_d s_d(p) + sum_d c_d * s_d(p) + e_p + noise``: s_d
is the loss increase of dimension d that was measured before training, b a factor that all have in
common, c_d the correction of one dimension, shrunk to zero, and e_p what no sum explains. A short
rung has an a and a b of its own. All are Gaussian, so that the loss is a Gaussian process; how much
is shrunk follows from the scores (the largest marginal likelihood).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.tabular.evidence import Floats

WIDE = 10.0
"""Prior deviation of what all plans have in common, in deviations of the scores."""
WIDTH_DEVIATION = 0.3
"""Prior deviation of the effect of twice as many units, in the same unit."""
SHRINKAGE = (0.05, 0.15, 0.4, 1.0)
"""Prior deviations of the corrections that are tried."""
RESIDUALS = (0.05, 0.15, 0.4)
"""Prior deviations of e_p that are tried."""
NOISES = (0.03, 0.1, 0.3)
"""Deviations of the noise that are tried, unless it is known."""


@dataclass(frozen=True)
class Scored:
    """One score.

    Attributes:
        row: index of the plan.
        short: whether it is of the short rung.
        loss: of the plan.
    """

    row: int
    short: bool
    loss: float


@dataclass(frozen=True)
class Hyperparameters:
    """Prior deviations, in deviations of the scores.

    Attributes:
        correction: of each dimension's factor.
        residual: of e_p.
        noise: of a medium score; a short one has as much.
    """

    correction: float
    residual: float
    noise: float


class LossModel:
    """The loss of all plans after the medium rung, given some scores.

    Args:
        increases: loss increases s_d, [plans, dimensions].
        widths: logarithms of the plans' widths, [plans, layers that may grow].
        scored: the scores so far.
        noise: deviation of a score; None where it is not known.
        corrections: whether dimensions have factors of their own.
    """

    def __init__(
        self,
        increases: Floats,
        widths: Floats,
        scored: Sequence[Scored],
        noise: float | None = None,
        corrections: bool = True,
    ) -> None:
        self._total = increases.sum(1)
        unit = max(float(self._total[[s.row for s in scored]].std()), 1e-12)
        self._total, self._increases = self._total / unit, increases / unit
        self._widths = widths
        self._rows = np.array([s.row for s in scored])
        self._short = np.array([s.short for s in scored], float)
        losses = np.array([s.loss for s in scored])
        self._center = float(losses.mean())
        self._scale = max(float(losses.std()), 1e-9)
        self._losses = (losses - self._center) / self._scale
        noises = NOISES if noise is None else (noise / self._scale,)
        shrinkage = SHRINKAGE if corrections else (0.0,)
        tried = [Hyperparameters(*values) for values in product(shrinkage, RESIDUALS, noises)]
        self.hyperparameters = max(tried, key=self._likelihood)
        self._solve()

    @property
    def noise(self) -> float:
        """Deviation of a score, in the unit of the losses: what was given, or the most likely."""
        return self.hyperparameters.noise * self._scale

    def _kernel(
        self, rows: Floats, short: Floats, others: Floats, others_short: Floats, h: Hyperparameters
    ) -> Floats:
        """Prior covariance between losses without noise.

        Args:
            rows: plans of the first losses.
            short: 1 for the short rung, 0 for the medium one.
            others: plans of the second losses.
            others_short: as ``short``.
            h: prior deviations.
        """
        both = short[:, None] * others_short
        totals = np.outer(self._total[rows], self._total[others])
        common = WIDE**2 * (1 + both + totals + both * totals)
        own = h.correction**2 * self._increases[rows] @ self._increases[others].T
        grown = WIDTH_DEVIATION**2 * (1 + both) * (self._widths[rows] @ self._widths[others].T)
        residual = h.residual**2 * (1 + both) * (rows[:, None] == others)
        result: Floats = common + own + grown + residual
        return result

    def _covariance(self, h: Hyperparameters) -> Floats:
        own = self._kernel(self._rows, self._short, self._rows, self._short, h)
        return own + (h.noise**2 + 1e-6) * np.eye(len(self._rows))

    def _likelihood(self, h: Hyperparameters) -> float:
        """The logarithm of the marginal likelihood of the scores, without constants."""
        lower = np.linalg.cholesky(self._covariance(h))
        whitened = np.linalg.solve(lower, self._losses)
        return -0.5 * float(whitened @ whitened) - float(np.log(np.diag(lower)).sum())

    def _solve(self) -> None:
        h = self.hyperparameters
        self._lower = np.linalg.cholesky(self._covariance(h))
        self._whitened = np.linalg.solve(self._lower, self._losses)

    def posterior(self, rows: Floats) -> tuple[Floats, Floats]:
        """Mean [n] and covariance [n, n] of the medium losses of plans, without noise.

        Args:
            rows: indices of the plans, [n].
        """
        h, medium = self.hyperparameters, np.zeros(len(rows))
        cross = self._kernel(self._rows, self._short, rows, medium, h)
        projected = np.linalg.solve(self._lower, cross)
        mean = self._center + self._scale * (projected.T @ self._whitened)
        covariance = self._kernel(rows, medium, rows, medium, h) - projected.T @ projected
        return mean, self._scale**2 * covariance

    def samples(self, rows: Floats, count: int, random: np.random.Generator) -> Floats:
        """Draws of the medium losses of plans, [count, n].

        Args:
            rows: indices of the plans, [n].
            count: of the draws.
            random: what is drawn.
        """
        mean, covariance = self.posterior(rows)
        jitter = 1e-9 * math.fabs(float(np.trace(covariance))) / len(rows)
        lower = np.linalg.cholesky(covariance + (jitter + 1e-12) * np.eye(len(rows)))
        draws: Floats = mean + random.standard_normal((count, len(rows))) @ lower.T
        return draws
