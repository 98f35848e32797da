"""Rules by name, held against small networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.settings import Search, Space
from autoquant.space.layer_overrides import LayerOverride, LayerOverrides, resolve_overrides
from autoquant.space.search_space import SearchSpace, build_space, uniform_plan
from tests.toys import language_model

NETWORK = describe(prepare(language_model(layers=2)), (torch.zeros(3, 2, dtype=torch.long),))
SPACE = Space((2, 4, 8), (4, 8), (1.0, 1.5))


class Tied(nn.Module):
    """``front`` and ``back`` write into one sum, so that they have one width."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Linear(4, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, values: Tensor) -> Tensor:
        values = torch.relu(self.front(values))
        return self.out(values + self.back(values))


TIED = describe(prepare(Tied()), (torch.zeros(2, 4),))


def resolved(rules: dict[str, Any], network: Any = NETWORK) -> LayerOverrides:
    return resolve_overrides(network, Search(rules=rules).rules)


def space_of(
    rules: dict[str, Any], network: Any = NETWORK, choices: Space = SPACE, widenable: Any = ()
) -> SearchSpace:
    return build_space(network, widenable, choices, Search(rules=rules).rules)


def choices_of(space: SearchSpace) -> dict[str, tuple[float, ...]]:
    return {each.name: each.choices for each in space.dimensions}


# --- which rule counts ----------------------------------------------------------------------------


def test_the_last_match_that_names_a_key_counts() -> None:
    found = resolved(
        {
            "*": {"weight_bits": [4, 8], "width": 1.0},
            "rnn.*": {"weight_bits": 8},
            "rnn.l1": {"activation_bits": [8]},
        }
    )
    assert found["decoder"]["weight_bits"] == LayerOverride("*", (4, 8))
    assert found["rnn.l0"] == {
        "weight_bits": LayerOverride("rnn.*", (8,)),
        "width": LayerOverride("*", (1.0,)),
    }
    assert found["rnn.l1"]["weight_bits"] == LayerOverride("rnn.*", (8,))
    assert found["rnn.l1"]["activation_bits"] == LayerOverride("rnn.l1", (8,))


def test_a_pattern_passes_over_layers_without_what_it_names() -> None:
    found = resolved({"*": {"activation_bits": 8, "hidden_bits": 4}})
    assert set(found["embedding"]) == set()
    assert set(found["decoder"]) == {"activation_bits"}
    assert set(found["rnn.l1"]) == {"activation_bits", "hidden_bits"}


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ({"dekoder": {"width": 1}}, r"layers of the model, got 'dekoder' \(near: decoder"),
        ({"rn.*": {"width": 1}}, r"got 'rn\.\*' \(near: rnn\.l"),
        (
            {"embedding": {"activation_bits": 8}},
            r"has activation_bits, got embedding \(embedding\)",
        ),
        ({"decoder": {"recurrent_bits": 8}}, r"a layer that has recurrent_bits, got decoder"),
        ({"decoder": {"width": [1.0, 1.5]}}, r"width must be 1\.0 for decoder \(feeds the model"),
        ({"*": {"width": 2}}, r"rules\.\*\.width must be 1\.0 for decoder .*, got \[2\] \(rules"),
    ],
)
def test_rules_that_do_not_suit(rules: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        resolved(rules)


def test_layers_of_a_group_have_one_width() -> None:
    both = {"front": {"width": 1.5}, "back": {"width": [1.0, 1.5]}}
    with pytest.raises(UserError) as raised:
        resolved(both, TIED)
    assert str(raised.value) == (
        "rules must give layers that share their units one width: front has [1.5] (rules.front), "
        "back has [1, 1.5] (rules.back)"
    )
    found = resolved({"back": {"width": [1.0, 1.5]}}, TIED)
    assert found["front"]["width"] == found["back"]["width"] == LayerOverride("back", (1.0, 1.5))


class Shared(nn.Module):
    """The decoder's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(9, 6), nn.Linear(6, 9)
        self.decoder.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.decoder(torch.relu(self.embedding(words)))


def test_layers_that_share_a_weight_have_its_bits_in_common() -> None:
    network = describe(prepare(Shared()), (torch.zeros(2, 3, dtype=torch.long),))
    usual = space_of({}, network)
    assert [each.name for each in usual.dimensions] == [
        "embedding.weight_bits",
        "decoder.activation_bits",
    ]
    for point in ((0, 0), (2, 1)):
        network.resized(usual.plan(point))
        assert usual.point(usual.plan(point)) == point
    assert usual.point(usual.plan((0, 0)).with_choice("decoder", weight_bits=4)) is None
    ruled = space_of({"decoder": {"weight_bits": 8}}, network)
    assert choices_of(ruled)["embedding.weight_bits"] == (8,)
    plan = uniform_plan(ruled, network, LayerChoice(2, 8))
    assert (plan["embedding"].weight_bits, plan["decoder"].weight_bits) == (8, 8)
    with pytest.raises(UserError, match=r"share their weight one weight_bits: embedding has \[4\]"):
        resolved({"*": {"weight_bits": 8}, "embedding": {"weight_bits": 4}}, network)


# --- in the space ---------------------------------------------------------------------------------


def test_no_rules_change_nothing() -> None:
    widenable = ["rnn.l0"]
    assert space_of({}, widenable=widenable) == build_space(NETWORK, widenable, SPACE)


def test_rules_replace_choices() -> None:
    space = space_of({"decoder": {"weight_bits": [1, 6], "activation_bits": 16}})
    usual = choices_of(space_of({}))
    own = {"decoder.weight_bits": (1, 6), "decoder.activation_bits": (16,)}
    assert choices_of(space) == usual | own


def test_recurrent_choices_follow_unless_named() -> None:
    named = {"recurrent_bits": [1, 2]}
    space = choices_of(space_of({"rnn.*": {"weight_bits": 8}, "rnn.l1": named}))
    assert (space["rnn.l0.weight_bits"], space["rnn.l0.recurrent_bits"]) == ((8,), (8,))
    assert (space["rnn.l1.weight_bits"], space["rnn.l1.recurrent_bits"]) == ((8,), (1, 2))
    joint = Space((2, 4), (8,), (1.0,), split_recurrent=False)
    space = choices_of(space_of({"rnn.l1": named}, choices=joint))
    assert space["rnn.l1.recurrent_bits"] == (1, 2)
    assert "rnn.l0.recurrent_bits" not in space


def test_widths_by_rule() -> None:
    usual = choices_of(space_of({}, widenable=["rnn.l0"]))
    space = space_of(
        {"rnn.l0": {"width": 1}, "rnn.l1": {"width": [1.0, 3.0]}}, widenable=["rnn.l0"]
    )
    assert "rnn.l0.width" in usual
    assert "rnn.l0.width" not in choices_of(space)
    assert choices_of(space)["rnn.l1.width"] == (1.0, 3.0)
    tied = choices_of(space_of({"back": {"width": [1.0, 2.0]}}, TIED))
    assert {name: c for name, c in tied.items() if "width" in name} == {"front.width": (1.0, 2.0)}


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_uniform_plans_keep_to_rules(bits: int) -> None:
    rules = {
        "decoder": {"weight_bits": [4, 8], "activation_bits": 4},
        "rnn.l0": {"width": [1.25, 1.5], "recurrent_bits": [2, 3]},
    }
    plan = uniform_plan(space_of(rules), NETWORK, LayerChoice(bits, 8))
    assert plan["embedding"].weight_bits == plan["rnn.l0"].weight_bits == bits
    assert plan["decoder"].weight_bits == (8 if bits == 8 else 4)
    assert plan["decoder"].activation_bits == 4
    assert plan["rnn.l0"].recurrent_bits == min(max(bits, 2), 3)
    assert plan["rnn.l0"].width == 1.25
    NETWORK.resized(plan)


def test_uniform_plans_keep_to_the_width_of_a_group() -> None:
    plan = uniform_plan(space_of({"back": {"width": 2}}, TIED), TIED, LayerChoice(4, 8))
    assert plan["front"].width == plan["back"].width == 2.0
    assert plan["out"].width == 1.0
    TIED.resized(plan)


def test_points_keep_to_rules() -> None:
    space = space_of({"*": {"weight_bits": 8}, "rnn.l0": {"width": 1.5}})
    top = tuple(len(each.choices) - 1 for each in space.dimensions)
    for point in (space.smallest, top):
        plan = space.plan(point)
        assert {choice.weight_bits for choice in plan.choices.values()} == {8}
        assert plan["rnn.l0"].width == 1.5
        assert space.point(plan) == point
