import pytest

from autoquant.figures.labels import outcome_label
from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome


@pytest.mark.parametrize(
    ("trial", "role", "label"),
    [
        ("w4", "reference", "4-bit"),
        ("w1.6", "reference", "1.6-bit"),
        ("17", "search", "trial 17"),
        ("own", "reference", "trial own"),
    ],
)
def test_labels(trial, role, label):
    plan = Plan({"a": LayerChoice(1.6)})
    assert outcome_label(Outcome(trial, role, plan, 100, "complete", 1.0)) == label
