import pickle
from dataclasses import FrozenInstanceError

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoquant.errors import UserError
from autoquant.plan import ACTIVATION_BITS, TERNARY, WEIGHT_BITS, WIDEST, LayerChoice, Plan

CHOICES = st.builds(
    LayerChoice,
    st.sampled_from(WEIGHT_BITS),
    st.sampled_from(ACTIVATION_BITS),
    st.floats(1.0, WIDEST) | st.integers(1, int(WIDEST)),
    st.none() | st.sampled_from(WEIGHT_BITS),
    st.none() | st.sampled_from(ACTIVATION_BITS),
)
NAMES = st.sampled_from(["rnn.l0", "fc", "0", "1.10", "", "on", "null", "1e5", "~", "a b", "é"])
PLANS = st.dictionaries(NAMES, CHOICES, min_size=1).map(Plan)


@pytest.fixture
def plan() -> Plan:
    return Plan(
        {
            "embedding": LayerChoice(8, 32),
            "rnn.l0": LayerChoice(4, 8, 1.5, recurrent_bits=3, hidden_bits=6),
            "decoder": LayerChoice(4, 8),
        }
    )


# --- one choice ----------------------------------------------------------------------------------


def test_the_default_choice_changes_nothing():
    choice = LayerChoice()
    assert (choice.weight_bits, choice.activation_bits, choice.width) == (32, 32, 1.0)


@pytest.mark.parametrize(
    ("choice", "weight", "recurrent", "state"),
    [
        pytest.param(LayerChoice(4, 8), 4, 4, 8, id="as-the-rest"),
        pytest.param(LayerChoice(4, 8, recurrent_bits=3), 4, 3, 8, id="own-weights"),
        pytest.param(LayerChoice(4, 8, hidden_bits=6), 4, 4, 6, id="own-state"),
    ],
)
def test_recurrent_bits_fall_back(choice, weight, recurrent, state):
    assert choice.bits_of("weight") == weight
    assert choice.bits_of("recurrent") == recurrent
    assert choice.state_bits == state


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_takes_every_number_of_weight_bits(bits):
    assert LayerChoice(weight_bits=bits, recurrent_bits=bits).bits_of("recurrent") == bits


@pytest.mark.parametrize(
    "bad",
    [
        {"weight_bits": 0},
        {"weight_bits": 9},
        {"weight_bits": 4.0},
        {"weight_bits": 1.5},
        {"weight_bits": 2.6},
        {"weight_bits": "1.6"},
        {"activation_bits": 1.6},
        {"hidden_bits": 1.6},
        {"weight_bits": "4"},
        {"weight_bits": True},
        {"weight_bits": None},
        {"activation_bits": 1},
        {"activation_bits": [4]},
        {"recurrent_bits": 12},
        {"recurrent_bits": False},
        {"hidden_bits": 1},
    ],
    ids=str,
)
def test_refuses_other_bits(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(UserError, match=f"{name} must be one of .*2, 3, 4") as caught:
        LayerChoice(**bad)
    assert str(caught.value).endswith(f"got {value!r}")


def test_says_which_bits_there_are():
    with pytest.raises(UserError) as caught:
        LayerChoice(weight_bits=1.5)
    rule = "weight_bits must be one of 1, 1.6, 2, 3, 4, 5, 6, 7, 8, 16, 32, got 1.5"
    assert str(caught.value) == rule
    with pytest.raises(UserError) as caught:
        LayerChoice(activation_bits=1.6)
    assert (
        str(caught.value) == "activation_bits must be one of 2, 3, 4, 5, 6, 7, 8, 16, 32, got 1.6"
    )


def test_yaml_says_1_6_and_4():
    plan = Plan({"a": LayerChoice(1.6, 8, recurrent_bits=4), "b": LayerChoice(4, 8)})
    text = plan.to_yaml()
    assert "a: {weight_bits: 1.6, activation_bits: 8, width: 1.0, recurrent_bits: 4}" in text
    assert "b: {weight_bits: 4, activation_bits: 8, width: 1.0}" in text
    assert Plan.from_yaml(text) == plan
    assert type(Plan.from_yaml(text)["b"].weight_bits) is int


@pytest.mark.parametrize("width", [0.99, 0, -1.5, 16.01, float("inf"), float("nan")])
def test_refuses_widths_out_of_range(width):
    with pytest.raises(UserError, match=r"width must be in \[1, 16\]"):
        LayerChoice(width=width)


@pytest.mark.parametrize("width", ["1.5", None, True, [1.5]])
def test_refuses_widths_that_are_no_numbers(width):
    with pytest.raises(UserError, match="width must be a number"):
        LayerChoice(width=width)


# --- a value -------------------------------------------------------------------------------------


@given(PLANS)
def test_equal_plans_have_one_hash_whatever_their_order(plan):
    turned = Plan(dict(reversed(plan.choices.items())))
    assert turned == plan
    assert hash(turned) == hash(plan)
    assert len({turned, plan}) == 1


def test_differs_by_one_choice(plan):
    assert plan.with_choice("decoder", weight_bits=3) != plan
    assert Plan({**plan.choices, "more": LayerChoice()}) != plan


def test_is_frozen(plan):
    with pytest.raises(FrozenInstanceError):
        plan.choices = {}
    with pytest.raises(TypeError):
        plan.choices["decoder"] = LayerChoice()
    with pytest.raises(FrozenInstanceError):
        plan["decoder"].width = 2.0


def test_does_not_follow_the_dictionary_it_was_made_of():
    given_choices = {"decoder": LayerChoice(4)}
    plan = Plan(given_choices)
    given_choices["decoder"] = LayerChoice(8)
    assert plan["decoder"].weight_bits == 4


def test_with_choice_leaves_the_original_and_the_order(plan):
    changed = plan.with_choice("rnn.l0", width=2.0)
    assert changed["rnn.l0"] == LayerChoice(4, 8, 2.0, 3, 6)
    assert plan["rnn.l0"].width == 1.5
    assert list(changed.choices) == list(plan.choices)


def test_uniform():
    assert Plan.uniform(["a", "b"], LayerChoice(4)) == Plan(
        {"a": LayerChoice(4), "b": LayerChoice(4)}
    )


def test_survives_pickle(plan):
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert hash(again) == hash(plan)


# --- fitting a model -----------------------------------------------------------------------------


def test_check_takes_exactly_the_layers_in_any_order(plan):
    plan.check(["decoder", "rnn.l0", "embedding"])
    with pytest.raises(UserError, match=r"must name every layer, missing: rnn\.l1"):
        plan.check([*plan.choices, "rnn.l1"])


def test_check_shows_near_names_for_a_typo():
    typo = Plan({"decoderr": LayerChoice()})
    with pytest.raises(UserError) as caught:
        typo.check(["embedding", "rnn.l0", "decoder"])
    assert str(caught.value) == (
        "a plan must name layers of the model, got 'decoderr' (near: decoder)"
    )


def test_check_shows_some_names_where_none_is_near():
    with pytest.raises(UserError, match=r"got 'zzz' \(near: a, b, c\)"):
        Plan({"zzz": LayerChoice()}).check(["a", "b", "c", "d"])


# --- YAML ----------------------------------------------------------------------------------------

WRITTEN = """\
layers:
  embedding: {weight_bits: 8, activation_bits: 32, width: 1.0}
  rnn.l0: {weight_bits: 4, activation_bits: 8, width: 1.5, recurrent_bits: 3, hidden_bits: 6}
  decoder: {weight_bits: 4, activation_bits: 8, width: 1.0}
"""


def test_prints_a_table_and_shows_one_in_a_notebook():
    plan = Plan(
        {
            "rnn.l0": LayerChoice(TERNARY, 8, 1.25, recurrent_bits=3),
            "<head>": LayerChoice(4, 32),
        }
    )
    assert str(plan).splitlines() == [
        f"plan {plan.digest}",
        "  layer    weight bits   recurrent bits   activation bits   width",
        "  -----------------------------------------------------------------",
        "  rnn.l0           1.6                3                 8   x1.25",
        "  <head>             4                                 32      x1",
    ]
    assert plan._repr_html_().count("<tr>") == 3
    assert '<td style="text-align: left">&lt;head&gt;</td>' in plan._repr_html_()
    assert repr(plan).startswith("Plan(choices=")
    assert "\n" not in plan.summary + repr(plan)


def test_yaml_is_a_line_a_layer(plan):
    assert plan.to_yaml() == WRITTEN
    assert Plan.from_yaml(WRITTEN) == plan


@given(PLANS)
def test_yaml_round_trip(plan):
    again = Plan.from_yaml(plan.to_yaml())
    assert again == plan
    assert list(again.choices) == list(plan.choices)


@given(PLANS)
def test_dictionary_round_trip(plan):
    assert Plan.from_dict(plan.to_dict()) == plan
    assert yaml.safe_load(yaml.safe_dump(plan.to_dict())) == plan.to_dict()


def test_hand_written_yaml_may_leave_fields_out():
    text = "# mine\nlayers:\n  decoder:\n    weight_bits: 4\n  0: {width: 2}\n"
    assert Plan.from_yaml(text) == Plan({"decoder": LayerChoice(4), "0": LayerChoice(width=2)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "layers:\n  fc: {weight_bit: 4}",
            "p.yaml, layer fc: keys must be among activation_bits, hidden_bits, recurrent_bits, "
            "weight_bits, width, got 'weight_bit'",
            id="unknown-key",
        ),
        pytest.param(
            "layers:\n  fc: {weight_bits: 9}",
            "p.yaml, layer fc: "
            "weight_bits must be one of 1, 1.6, 2, 3, 4, 5, 6, 7, 8, 16, 32, got 9",
            id="bad-bits",
        ),
        pytest.param(
            "layers:\n  fc: {width: wide}",
            "p.yaml, layer fc: width must be a number, got 'wide'",
            id="bad-width",
        ),
        pytest.param(
            "layers:\n  fc: 4", "p.yaml, layer fc: must be a mapping, got 4", id="bare-number"
        ),
        pytest.param(
            "layers:\n  fc: {weight_bits: 4\n  decoder: {}\n",
            "p.yaml must be valid YAML, got a syntax error at line 3",
            id="syntax",
        ),
        pytest.param("\x00", "p.yaml must be valid YAML, got a syntax error", id="control-sign"),
        pytest.param("", "p.yaml must have a 'layers' mapping, got an empty file", id="empty"),
        pytest.param("- fc", "p.yaml must have a 'layers' mapping, got a list", id="list"),
        pytest.param("fc: {}", "p.yaml must have a 'layers' mapping, got a dict", id="no-layers"),
        pytest.param(
            "layers:", "p.yaml must map layer names to choices, got None", id="empty-layers"
        ),
        pytest.param(
            "layers: [fc]", "p.yaml must map layer names to choices, got ['fc']", id="list-layers"
        ),
    ],
)
def test_errors_of_hand_edited_yaml(text, message):
    with pytest.raises(UserError) as caught:
        Plan.from_yaml(text, "p.yaml")
    assert str(caught.value) == message


def test_a_typo_in_a_layer_name_is_found_with_its_near_names(plan):
    edited = Plan.from_yaml(plan.to_yaml().replace("rnn.l0", "rnn.10"))
    with pytest.raises(UserError, match=r"got 'rnn.10' \(near: rnn.l0"):
        edited.check(plan.choices)


def test_read(plan, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(plan.to_yaml(), encoding="utf-8")
    assert Plan.read(path) == Plan.read(str(path)) == plan


def test_read_names_the_file_in_its_errors(tmp_path):
    with pytest.raises(UserError, match=r"plan must be an existing YAML file, got '.*absent"):
        Plan.read(tmp_path / "absent.yaml")
    path = tmp_path / "plan.yaml"
    path.write_text("layers: {fc: {weight_bits: 9}}", encoding="utf-8")
    with pytest.raises(UserError, match=r"plan '.*plan.yaml', layer fc: weight_bits must be"):
        Plan.read(path)


def test_read_refuses_other_encodings(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"layers: {fc\xff: {}}")
    with pytest.raises(UserError, match="must be a plan, got bytes that are no UTF-8 text"):
        Plan.read(path)
