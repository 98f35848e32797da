from math import nan

import pytest

from autoquant.figures.labels import format_with_error, outcome_label
from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome


@pytest.mark.parametrize(
    ("trial", "role", "label"),
    [
        ("w4", "reference", "4-bit where allowed"),
        ("w1.6", "reference", "1.6-bit"),
        ("17", "search", "trial 17"),
        ("own", "reference", "trial own"),
    ],
)
def test_labels(trial, role, label):
    plan = Plan({"a": LayerChoice(1.6)})
    assert outcome_label(Outcome(trial, role, plan, 100, "complete", 1.0)) == label


@pytest.mark.parametrize(
    ("score", "error", "text"),
    [
        (28.4837, 0.0312, "28.484 ± 0.031"),
        (28.4837, 0.3, "28.48 ± 0.30"),
        (28.4837, 0.096, "28.484 ± 0.096"),
        (0.71591, 0.000312, "0.71591 ± 0.00031"),
        (1234.5, 31.4, "1,234 ± 31"),
        (28.4837, nan, "28.48"),
        (28.4837, 0.0, "28.48 ± 0"),
        (28.4837, 3e-9, "28.48 ± 3e-09"),
        (1.234e-5, 2e-7, "1.234e-05 ± 2e-07"),
        (0.0, 0.01, "0.000 ± 0.010"),
    ],
)
def test_a_score_has_the_digits_that_its_error_allows(score, error, text):
    assert format_with_error(score, error) == text
