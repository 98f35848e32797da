"""LossModel: the loss of any plan, predicted from the sensitivity and the scores of trained plans.

Training removes a part of the loss increase that rounding causes, and not the same part in every
layer. The model is linear: loss = a + sum over dimensions of b_d * s_d(choice) + sum over widths of
c_g * log2(width), with the estimated increases s. The factors b_d are drawn towards one common
factor, which is fitted, and the effects c_g towards 0 (Bayesian linear regression: Bishop 2006,
section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoquant.samplers.loss_tables import Floats, LossTables, Points
from autoquant.space.search_space import Point

FACTOR_SPREAD = 0.7
"""Prior deviation of a dimension's factor, over the common factor."""
WIDTH_SPREAD = 0.1
"""Prior deviation of the effect of twice the width, over the loss increase of the median plan."""
MISFIT = 0.3
"""Deviation of a loss from the best linear prediction, over its predicted increase: plans that lose
much say little about those that lose little."""

MANY = 500
"""Observations above which the regression solves for coefficients, not for observations: the time
of it then grows with their number, not with its third power."""


@dataclass(frozen=True)
class Observation:
    """The score of a trained plan.

    Attributes:
        point: of the plan.
        loss: its mean score, as a loss.
        trainings: number of data orders of the mean.
    """

    point: Point
    loss: float
    trainings: int = 1


@dataclass(frozen=True)
class LossModel:
    """Predicts losses; without observations it predicts the estimated loss increases themselves.

    Attributes:
        tables: estimated loss increases.
        observations: of trained plans.
        deviation: standard deviation of a loss over data orders.
    """

    tables: LossTables
    observations: tuple[Observation, ...] = ()
    deviation: float = 0.0

    def predict(self, point: Point) -> tuple[float, float]:
        """The expected loss of a plan, and its standard deviation.

        Args:
            point: of the plan.
        """
        row, deviations = self._regressors(point), self._prior[1]
        variance = float(np.square(row * deviations).sum())
        if self.observations:
            known = self._rows @ (deviations**2 * row)
            total = float(row[1 : 1 + len(self.tables.increases)].sum())
            variance -= float((self._gain.T @ row) @ known)
            variance = max(variance, 0.0) + (MISFIT * self._common * total) ** 2
        return float(row @ self.expected()), math.sqrt(variance)

    def expected(self) -> Floats:
        """The expected coefficients: intercept, factors, effects of widths."""
        return self._given_observations(self._prior[0])

    def sample(self, random: np.random.Generator, scale: float = 1.0) -> Floats:
        """Coefficients that are drawn from their posterior distribution.

        Args:
            random: gives the numbers.
            scale: of the deviations from the expected ones; 1: those of the posterior.
        """
        expected = self.expected()
        drawn: Floats = expected + scale * (self._drawn(random) - expected)
        return drawn

    def _drawn(self, random: np.random.Generator) -> Floats:
        """Coefficients that are drawn with the whole deviations."""
        mean, deviations = self._prior
        drawn = mean + deviations * random.standard_normal(len(mean))
        if not self.observations:
            return drawn
        errors = self._noise * random.standard_normal(len(self._noise))
        return self._given_observations(drawn, errors)

    def losses(self, coefficients: Floats, widths: Point) -> list[Floats]:
        """The loss increase of each choice of each dimension, at given widths.

        Args:
            coefficients: as ``expected`` or ``sample`` gives them; factors below 0 count as 0.
            widths: a point, of which only the widths count.
        """
        shares = self.tables.widths(widths)
        factors = np.maximum(coefficients[1 : 1 + len(shares)], 0.0)
        return [
            table * factor / width
            for table, factor, width in zip(self.tables.increases, factors, shares, strict=True)
        ]

    def width_effect(self, coefficients: Floats, widths: Point) -> float:
        """What the widths add to the loss, beside the loss increases of bits.

        Args:
            coefficients: as ``expected`` or ``sample`` gives them.
            widths: a point, of which only the widths count.
        """
        effects = coefficients[1 + len(widths) :]
        return float(effects @ self.tables.log_widths(widths))

    # --- the regression --------------------------------------------------------------------------

    def _regressors(self, points: Points) -> Floats:
        """1, loss increases, logarithms of widths, [..., coefficients].

        Args:
            points: of the plans, [..., dimensions].
        """
        features = self.tables.features(points)
        ones = np.ones((*features.shape[:-1], 1))
        return np.concatenate((ones, features, self.tables.log_widths(points)), -1)

    @cached_property
    def _rows(self) -> Floats:
        return self._regressors([observation.point for observation in self.observations])

    @cached_property
    def _sums(self) -> Floats:
        """The estimated loss increase of each observed plan."""
        count = len(self.tables.increases)
        sums: Floats = self._rows[:, 1 : 1 + count].sum(1)
        return sums

    @cached_property
    def _line(self) -> tuple[float, float]:
        """Intercept and common factor: a weighted straight line through the observed losses."""
        if len(self.observations) < 2 or np.ptp(self._sums) <= 0:
            return (self.observations[0].loss if self.observations else 0.0), 1.0
        losses = np.array([observation.loss for observation in self.observations])
        weights = 1 / (self._sums + np.median(self._sums) * 0.1 + 1e-12)
        design = np.stack([np.ones_like(self._sums), self._sums], 1) * weights[:, None]
        (intercept, factor), *_ = np.linalg.lstsq(design, losses * weights, rcond=None)
        return float(intercept), max(float(factor), 1e-6 * float(np.ptp(losses)))

    @property
    def _common(self) -> float:
        return self._line[1]

    @cached_property
    def _prior(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each coefficient before the observations."""
        intercept, common = self._line
        count, widths = len(self.tables.increases), len(self.tables.width_dimensions)
        typical = common * float(np.median(self._sums)) if self.observations else 0.0
        first = max(abs(intercept), typical, 1e-12) if self.observations else 0.0
        factors = np.sqrt(FACTOR_SPREAD**2 + self._relative_errors() ** 2) * common
        mean = np.array([intercept, *[common] * count, *[0.0] * widths])
        return mean, np.array([first, *factors, *[WIDTH_SPREAD * typical] * widths])

    @cached_property
    def _losses(self) -> Floats:
        return np.array([observation.loss for observation in self.observations])

    @cached_property
    def _noise(self) -> Floats:
        """The standard deviation of each observed loss from the linear prediction."""
        floor = 1e-9 * float(np.square(self._losses).mean()) + 1e-18
        misfits = MISFIT * self._common * self._sums
        trainings = np.array([observation.trainings for observation in self.observations])
        noise: Floats = np.sqrt(self.deviation**2 / trainings + misfits**2 + floor)
        return noise

    @cached_property
    def _gain(self) -> Floats:
        """What the coefficients change by for each unit of an observed loss, [coefficients, N]."""
        if len(self.observations) <= MANY:
            scaled = self._rows * self._prior[1] ** 2
            gram = scaled @ self._rows.T + np.diag(self._noise**2)
            return np.asarray(np.linalg.solve(gram, scaled).T, dtype=np.float64)
        # the same with a matrix of coefficients instead of one of observations
        deviations, weights = self._prior[1], self._noise**-2
        rows = self._rows * deviations
        precision = np.eye(len(deviations)) + rows.T @ (rows * weights[:, None])
        gain = np.linalg.solve(precision, (rows * weights[:, None]).T)
        return np.asarray(deviations[:, None] * gain, dtype=np.float64)

    def _given_observations(self, coefficients: Floats, errors: Floats | float = 0.0) -> Floats:
        """Coefficients of the prior, corrected by the observed losses.

        Args:
            coefficients: of the prior: its mean, or drawn from it.
            errors: of the observed losses; drawn ones for a draw from the posterior distribution
                (Matheron's rule: Wilson et al. 2020, section 3).
        """
        if not self.observations:
            return coefficients
        rest = self._losses - self._rows @ coefficients - errors
        corrected: Floats = coefficients + self._gain @ rest
        return corrected

    def _relative_errors(self) -> Floats:
        """The standard error of each dimension's estimates, over the estimates; 0 for widths."""
        tables = zip(self.tables.increases, self.tables.deviations, strict=True)
        return np.array(
            [
                float(errors.sum() / (values.sum() + 1e-12)) if values.sum() > 0 else 0.0
                for values, errors in tables
            ]
        )


def observations_of(
    points: Sequence[Point], losses: Sequence[Sequence[float]]
) -> tuple[Observation, ...]:
    """Observations from the scores of several data orders.

    Args:
        points: of the plans.
        losses: for each plan the losses of its trainings on one rung.
    """
    return tuple(
        Observation(point, float(np.mean(values)), len(values))
        for point, values in zip(points, losses, strict=True)
    )
