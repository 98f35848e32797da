"""Estimates and measurements of loss increases that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoquant.analysis.loss_estimates import (
    Curve,
    Estimate,
    Measurement,
    corrected,
    filled,
    fit_curve,
    most_useful,
)

BITS = (2.0, 4.0, 8.0)


def estimate(scale: float, reference: int = 1, choices: tuple[float, ...] = BITS) -> Estimate:
    """Four times less with each bit."""
    values = tuple(scale * 0.25**bits for bits in choices)
    return Estimate(choices, reference, values, tuple(0.1 * value for value in values), 12)


def measurements(
    estimates: list[Estimate], curve: Curve, relative_noise: float = 0.0
) -> list[Measurement]:
    random = np.random.default_rng(0)
    return [
        Measurement(
            number,
            choice,
            (curve(e.values[choice]) - curve(e.at_reference))
            * (1 + relative_noise * random.standard_normal()),
            2,
        )
        for number, e in enumerate(estimates)
        for choice in range(len(e.choices))
        if choice != e.reference
    ]


@pytest.mark.parametrize("power", [1.0, 0.7, 0.5], ids=str)
def test_the_curve_of_measurements_is_found(power: float) -> None:
    estimates = [estimate(10.0**k) for k in range(-3, 3)]
    curve = Curve(30.0, power, 100.0)
    found = fit_curve(estimates, measurements(estimates, curve, relative_noise=0.2))
    assert found.power == pytest.approx(power, abs=0.11)
    typical = estimates[3].values[0]
    assert found(typical) == pytest.approx(curve(typical), rel=0.3)


def test_an_outlier_does_not_change_the_curve() -> None:
    estimates = [estimate(10.0**k) for k in range(-3, 3)]
    given = measurements(estimates, Curve(30.0, 1.0, 100.0))
    given[2] = Measurement(given[2].dimension, given[2].choice, 50.0, 2)
    assert fit_curve(estimates, given)(0.01) == pytest.approx(0.3, rel=0.4)


def test_without_measurements_estimates_are_increases() -> None:
    assert fit_curve([estimate(1.0)], [])(0.3) == 0.3


def test_the_largest_estimates_are_measured_first_and_the_nearest_of_hopeless_ones() -> None:
    small, large = estimate(0.1, 2), estimate(100.0, 2)
    assert most_useful([small, large], 3) == [(1, 1), (0, 0), (1, 0)]


def test_of_more_bits_than_the_reference_only_the_most_are_measured() -> None:
    choices = (2.0, 4.0, 6.0, 8.0)
    assert {*most_useful([estimate(1.0, 0, choices)], 9)} == {(0, 3)}


def test_where_no_gradient_was_found_measurements_come_first() -> None:
    unknown = Estimate(BITS, 1, (), (), 12)
    assert most_useful([estimate(1.0), unknown], 1)[0][0] == 1
    assert filled([estimate(1.0), unknown])[1].values == pytest.approx(estimate(1.0).values)


def test_a_measurement_corrects_its_dimension_alone() -> None:
    estimates = [estimate(0.1) for _ in range(8)]
    given = measurements(estimates, Curve(1000.0, 1.0, 1000.0))
    plain = corrected(estimates, given)
    reference, few = 1000 * estimates[0].at_reference, 1000 * estimates[0].values[0]
    changed = [Measurement(0, 0, 3 * few - reference, 2), *given[1:]]
    raised = corrected(estimates, changed)
    assert raised[0].values[2.0] > 1.5 * plain[0].values[2.0]
    assert raised[1].values[2.0] == pytest.approx(plain[1].values[2.0], rel=0.15)
    assert raised[1].values[2.0] == pytest.approx(few, rel=0.15)


def test_measured_choices_have_smaller_errors() -> None:
    estimates = [estimate(0.1) for _ in range(8)]
    given = measurements(estimates, Curve(1000.0, 1.0, 1000.0))
    found = corrected(estimates, [m for m in given if m.dimension])
    assert found[1].errors[2.0] < 0.5 * found[0].errors[2.0]


@pytest.mark.parametrize("change", [-5.0, 5.0, math.nan, math.inf], ids=str)
def test_increases_are_never_negative_and_never_larger_with_more_bits(change: float) -> None:
    estimates = [estimate(1.0), estimate(1.0)]
    found = corrected(estimates, [Measurement(0, 0, change, 2), Measurement(1, 2, change, 2)])
    for increases in found:
        values = [*increases.values.values()]
        assert values == sorted(values, reverse=True)
        assert values[-1] >= 0
    assert (found[0].values[2.0] == math.inf) == (not math.isfinite(change))
