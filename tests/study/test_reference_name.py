from __future__ import annotations

import pytest

from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Space
from autoquant.space.search_space import build_space, uniform_plan
from autoquant.study.outcome import Outcome
from autoquant.study.reference_name import is_uniform, reference_name, reference_scope
from tests.toys import language_model, prepared


def reference(trial: str, *choices: LayerChoice) -> Outcome:
    plan = Plan({f"l{i}": choice for i, choice in enumerate(choices)})
    return Outcome(trial, "reference", plan, 100, "complete", 1.0)


FOUR = LayerChoice(4, 8)


@pytest.mark.parametrize(
    ("outcome", "name", "scope"),
    [
        (reference("w4", FOUR, FOUR), "4-bit", "4 bits everywhere"),
        (reference("w4", FOUR, LayerChoice(8)), "4-bit where allowed", "4 bits where allowed"),
        (
            reference("w4", FOUR, LayerChoice(4, 8, recurrent_bits=8)),
            "4-bit where allowed",
            "4 bits where allowed",
        ),
        (reference("w1.6", LayerChoice(1.6, 8)), "1.6-bit", "1.6 bits everywhere"),
    ],
)
def test_a_name_says_whether_all_weights_have_the_bits(
    outcome: Outcome, name: str, scope: str
) -> None:
    assert (reference_name(outcome), reference_scope(outcome)) == (name, scope)
    assert is_uniform(outcome) == name.endswith("-bit")


def test_activation_bits_and_widths_do_not_count() -> None:
    assert is_uniform(reference("w4", FOUR, LayerChoice(4, 32, 1.5)))


@pytest.mark.parametrize(("trial", "role"), [("4", "search"), ("own", "reference")])
def test_other_plans_have_no_such_name(trial: str, role: str) -> None:
    outcome = Outcome(trial, role, Plan({"a": FOUR}), 100, "complete", 1.0)  # type: ignore[arg-type]
    assert reference_name(outcome) is None
    assert not is_uniform(outcome)


@pytest.mark.parametrize(("bits", "name"), [(4, "4-bit where allowed"), (8, "8-bit")])
def test_a_rule_leaves_the_decoder_other_bits(bits: int, name: str) -> None:
    network = prepared(language_model())[1]
    rules = {"decoder": {"weight_bits": (8,)}}
    space = build_space(network, (), Space(), rules)
    plan = uniform_plan(space, network, LayerChoice(bits, 8))
    assert reference_name(Outcome(f"w{bits}", "reference", plan, 1, "complete", 1.0)) == name
