"""Loss increases from estimates of unknown scale and a few noisy measurements.

An estimate is half the mean of (gradient * error)**2 over batches: the loss increase divided by the
number of samples of a batch, if errors are independent and small. So one scale holds for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

MODEL_ERROR = 0.4
"""Standard deviation of a scaled estimate, relative to the loss increase: errors are not quite
independent, and not small where bits are few."""
POWERS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
POWER_DEVIATION = 0.3
"""Standard deviation of a curve's power around 1, before anything is measured."""
MAX_FACTOR, FACTORS = 30.0, 69
"""Largest factor of the grid, relative to the median of the measured ratios; and grid points."""
LOWEST_SHARE = 0.1
"""Of a scaled estimate that remains, whatever was measured: a loss can fall by chance."""
FALL_PER_BIT = 0.25
"""Ratio of the loss increases of n + 1 and n bits where nothing is known: one more bit halves the
rounding error, and the loss increase is about its square."""


@dataclass(frozen=True)
class Estimate:
    """The estimated loss increases of one dimension, up to a scale that all dimensions share.

    Attributes:
        choices: bits, rising.
        reference: index of the choice that the network has.
        values: of each choice; never larger with more bits. Empty where no gradient was found.
        errors: the standard errors of the values.
        passes: number of gradient passes.
    """

    choices: tuple[float, ...]
    reference: int
    values: tuple[float, ...]
    errors: tuple[float, ...]
    passes: int

    @property
    def at_reference(self) -> float:
        """The value of the reference's choice."""
        return self.values[self.reference]


@dataclass(frozen=True)
class Measurement:
    """A measured change of the loss.

    Attributes:
        dimension: number of the estimate.
        choice: index of the choice that one dimension had; all others had the reference's.
        change: loss minus that of the reference, a mean over batches; NaN is allowed.
        batches: number of these.
    """

    dimension: int
    choice: int
    change: float
    batches: int


@dataclass(frozen=True)
class Increases:
    """The loss increases of one dimension.

    Attributes:
        values: by choice, in the loss's unit; at least 0, never larger with more bits.
        errors: their standard errors.
    """

    values: dict[float, float]
    errors: dict[float, float]


def filled(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The same, with values where no gradient was found: the median of other dimensions' there.

    Args:
        estimates: of all dimensions.
    """
    known = [estimate for estimate in estimates if estimate.values]
    fewest = [e.values[0] / FALL_PER_BIT ** e.choices[0] for e in known if e.values[0] > 0]
    level = float(np.median(fewest)) if fewest else 1.0

    def fill(estimate: Estimate) -> Estimate:
        if estimate.values:
            return estimate
        values = tuple(level * FALL_PER_BIT**choice for choice in estimate.choices)
        return replace(estimate, values=values, errors=values)

    return [fill(estimate) for estimate in estimates]


def most_useful(estimates: Sequence[Estimate], count: int) -> list[tuple[int, int]]:
    """The choices whose measurement tells most: those with the largest estimates.

    Estimates above the total of the reference count as that: such choices are out of the question,
    and the nearest to the reference goes first. Of more bits than the reference's only the most
    are measured, which tells what the reference's choice costs.

    Args:
        estimates: of all dimensions.
        count: how many there may be.

    Returns:
        (number of the dimension, index of the choice).
    """
    known = filled(estimates)
    total = sum(estimate.at_reference for estimate in known) or math.inf
    ranked = []
    for number, estimate in enumerate(known):
        last, surprising = len(estimate.choices) - 1, not estimates[number].values
        above = [last] if last > estimate.reference else []
        for index in (*range(estimate.reference), *above):
            value = estimate.values[min(index, estimate.reference)]
            distance = max(1, estimate.reference - index)
            ranked.append((not surprising, -min(value, total), distance, number, index))
    return [(number, index) for *_, number, index in sorted(ranked)[:count]]


def corrected(
    estimates: Sequence[Estimate], measurements: Sequence[Measurement]
) -> list[Increases]:
    """The loss increases that agree with estimates and measurements, each weighted by its error.

    Args:
        estimates: of all dimensions.
        measurements: of some of their choices.
    """
    known = filled(estimates)
    curve = fit_curve(known, measurements)
    return [
        _Correction(estimate, curve).increases([m for m in measurements if m.dimension == number])
        for number, estimate in enumerate(known)
    ]


@dataclass(frozen=True)
class Curve:
    """Loss increases as a function of estimates: factor * estimate**power.

    Attributes:
        factor: loss increase of an estimate of 1.
        power: 1 where errors are small enough for a quadratic loss, less where it saturates.
        samples: of a batch: the loss increase of the typical estimate, divided by this.
    """

    factor: float
    power: float
    samples: float

    def __call__(self, estimate: float) -> float:
        """The loss increase of an estimate.

        Args:
            estimate: not negative.
        """
        return self.factor * math.pow(estimate, self.power)

    def noise(self, increases: float, batches: int) -> float:
        """The variance of a loss increase over a few batches, that of its first-order terms.

        Args:
            increases: the increase; the total of two whose difference is measured.
            batches: their number.
        """
        return 2 * increases / (self.samples * batches)


def fit_curve(estimates: Sequence[Estimate], measurements: Sequence[Measurement]) -> Curve:
    """The most likely curve of a grid, with few outliers.

    Args:
        estimates: of all dimensions, filled.
        measurements: of some of their choices.
    """
    rows = []
    for measurement in measurements:
        estimate = estimates[measurement.dimension]
        value, reference = estimate.values[measurement.choice], estimate.at_reference
        if all(map(math.isfinite, (value, measurement.change))) and value != reference:
            rows.append((value, reference, measurement.change, measurement.batches))
    if not rows:
        return Curve(1.0, 1.0, 1.0)
    value, reference, change, batches = np.array(rows).T  # [measurements] each
    typical = float(np.median(np.maximum(value, reference)))
    best = (math.inf, Curve(1.0, 1.0, 1.0))
    for power in POWERS:
        difference = value**power - reference**power
        total = value**power + reference**power
        ratio = np.abs(change / difference)
        for factor in np.median(ratio) * np.geomspace(1 / MAX_FACTOR, MAX_FACTOR, FACTORS):
            samples = factor * typical ** (power - 1)
            variance = 2 * factor * total / (samples * batches)
            variance += (MODEL_ERROR * factor * difference) ** 2
            squares = (change - factor * difference) ** 2 / variance
            misfit = np.sum(np.log1p(squares) + np.log(variance) / 2)  # outliers count little
            misfit += ((1 - power) / POWER_DEVIATION) ** 2 / 2
            if misfit < best[0]:
                best = float(misfit), Curve(float(factor), power, float(samples))
    return best[1]


@dataclass(frozen=True)
class _Correction:
    """The loss increases of one dimension from its estimate.

    Attributes:
        estimate: of the dimension, filled.
        curve: of all estimates.
    """

    estimate: Estimate
    curve: Curve

    def increases(self, measurements: Sequence[Measurement]) -> Increases:
        """With measurements of some of its choices."""
        estimate, count = self.estimate, len(self.estimate.choices)
        values = [self.curve(value) for value in estimate.values]
        variances = [self._variance(index) for index in range(count)]
        trust = [0.0] * count
        upwards = [m for m in measurements if m.choice > estimate.reference]
        for measurement in (*upwards, *(m for m in measurements if m.choice < estimate.reference)):
            index, measured, variance = self._measured(measurement, values, variances)
            if not math.isfinite(measured):
                values[index], variances[index] = math.inf, math.inf
                continue
            before = variances[index]
            share = before / (before + variance) if before else 0.0
            mean = (1 - share) * values[index] + share * measured
            values[index] = max(mean, LOWEST_SHARE * values[index])
            variances[index] = (1 - share) * before
            trust[index] = share
        self._spread(values, variances, trust)
        values = [*np.maximum.accumulate(values[::-1])[::-1]]
        return Increases(
            {choice: float(value) for choice, value in zip(estimate.choices, values, strict=True)},
            {c: math.sqrt(v) for c, v in zip(estimate.choices, variances, strict=True)},
        )

    def _variance(self, index: int) -> float:
        """Of an estimate on the curve: the model's error, and the noise of the batches."""
        estimate = self.estimate.values[index]
        if not estimate:
            return 0.0
        value = self.curve(estimate)
        relative = self.curve.power * self.estimate.errors[index] / estimate
        noise = self.curve.noise(value, max(1, self.estimate.passes))
        return value**2 * (MODEL_ERROR**2 + relative**2) + noise

    def _measured(
        self, measurement: Measurement, values: Sequence[float], variances: Sequence[float]
    ) -> tuple[int, float, float]:
        """What a measurement says: the index of a choice, its loss increase and its variance.

        Args:
            measurement: of a choice. Where this has more bits than the reference's, it tells of the
                latter.
            values: loss increases of all choices so far.
            variances: of these.
        """
        reference, other = self.estimate.reference, measurement.choice
        noise = self.curve.noise(values[reference] + values[other], measurement.batches)
        if other > reference:
            return reference, values[other] - measurement.change, noise + variances[other]
        change = measurement.change + values[reference]
        return other, change, noise + variances[reference]

    def _spread(self, values: list[float], variances: list[float], trust: Sequence[float]) -> None:
        """Correct choices that were not measured by the ratio of the nearest that was, in place.

        Args:
            values: loss increases of all choices.
            variances: of these.
            trust: share of each choice's value that was measured.
        """
        measured = [i for i, share in enumerate(trust) if share and math.isfinite(values[i])]
        if not measured:
            return
        for index, value in enumerate(values):
            nearest = min(measured, key=lambda i: abs(i - index))
            scaled = self.curve(self.estimate.values[nearest])
            if index in measured or not math.isfinite(value) or scaled <= 0:
                continue
            factor = (values[nearest] / scaled) ** trust[nearest]
            values[index] *= factor
            variances[index] *= factor**2
