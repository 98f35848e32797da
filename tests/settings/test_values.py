import inspect
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import docstring_parser
import numpy as np
import pytest

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.settings import Scheme, Search, Space, Sweep, Training, Widening, from_dict

NAN = float("nan")
ALL = pytest.mark.parametrize("cls", [Training, Scheme, Widening, Space, Search, Sweep])


@ALL
def test_defaults_are_valid_values(cls):
    assert cls() == cls()
    assert hash(cls()) == hash(cls())
    with pytest.raises(FrozenInstanceError):
        setattr(cls(), fields(cls)[0].name, 1)


def test_help_needs_no_torch():
    code = "import sys, autoquant.settings; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@ALL
def test_every_field_is_explained_where_help_shows_it(cls):
    explained = docstring_parser.parse(inspect.getdoc(cls), docstring_parser.DocstringStyle.GOOGLE)
    texts = {each.arg_name: each.description for each in explained.params}
    assert [*texts] == [each.name for each in fields(cls)]
    assert all(text and text.endswith(".") for text in texts.values())


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "bad", "rule"),
    [
        (Training, {"epochs": 0}, "epochs must be above 0"),
        (Training, {"epochs": NAN}, "epochs must be above 0"),
        (Training, {"steps": -3}, "steps must not be negative"),
        (Training, {"lr": 0.0}, "lr must be above 0"),
        (Training, {"lr": NAN}, "lr must be above 0"),
        (Training, {"scale_lr": -1.0}, "scale_lr must not be negative"),
        (Training, {"warmup": 1.0}, "warmup must be in [0, 1)"),
        (Training, {"warmup": -0.1}, "warmup must be in [0, 1)"),
        (Training, {"weight_decay": -1.0}, "weight_decay must not be negative"),
        (Training, {"clip_norm": 0.0}, "clip_norm must be above 0"),
        (Training, {"scores": -1}, "scores must not be negative"),
        (Scheme, {"scale": "max"}, "quantizer.scale must be one of fixed, learned, mean, or an"),
        (Scheme, {"granularity": "row"}, "quantizer.granularity must be one of channel, tensor"),
        (Scheme, {"grid": "odd"}, "quantizer.grid must be one of auto, midrise, midtread"),
        (Scheme, {"reparametrization": "sin"}, "quantizer.reparametrization must be one of"),
        (Scheme, {"clip_gradient": "stop"}, "quantizer.clip_gradient must be one of mask, pass"),
        (Scheme, {"norms": "int8"}, "quantizer.norms must be one of float, half"),
        (Scheme, {"scale_bits": 4}, "quantizer.scale_bits must be one of 8, 16, 32"),
        (Scheme, {"bias_bits": 12}, "quantizer.bias_bits must be one of 1, 2, 3"),
        (Scheme, {"bias_bits": 1.6}, "quantizer.bias_bits must be one of 1, 2, 3"),
        (Scheme, {"activation_scale": "max"}, "quantizer.activation_scale must be one of"),
        (Widening, {"max_share": 1.5}, "widening.max_share must be in [0, 1]"),
        (Widening, {"max_growth": -0.1}, "widening.max_growth must not be negative"),
        (Widening, {"method": "copy"}, "widening.method must be split or fresh"),
        (Space, {"weight_bits": ()}, "space.weight_bits must have a choice"),
        (Space, {"weight_bits": 4}, "space.weight_bits must be a list"),
        (Space, {"weight_bits": "48"}, "space.weight_bits must be a list"),
        (Space, {"weight_bits": (4, 2)}, "space.weight_bits must rise"),
        (Space, {"activation_bits": (4, 4)}, "space.activation_bits must rise"),
        (Space, {"weight_bits": (2, 9)}, "space: weight_bits must be one of"),
        (Space, {"weight_bits": (1, 1.5)}, "space: weight_bits must be one of 1, 1.6, 2, 3"),
        (Space, {"weight_bits": (2, 1.6)}, "space.weight_bits must rise"),
        (Space, {"activation_bits": (1, 4)}, "space: activation_bits must be one of"),
        (Space, {"activation_bits": (1.6, 4)}, "space: activation_bits must be one of 2, 3"),
        (Space, {"width": (1.0, 32.0)}, "space: width must be in [1, 16]"),
        (Space, {"width": (1.5, 2.0)}, "space.width must start at 1.0"),
        (Search, {"trials": 0}, "trials must be at least 1"),
        (Search, {"seed": -1}, "seed must not be negative"),
        (Search, {"sampler": "grid"}, "sampler must be one of program, tpe, gp, nsga2, random"),
        (Search, {"references": (8, 9)}, "references: weight_bits must be one of"),
        (Sweep, {"weight_bits": 4}, "sweep.weight_bits must be a list"),
        (Sweep, {"weight_bits": (4, 9)}, "sweep: weight_bits must be one of"),
        (Sweep, {"activation_bits": (1,)}, "sweep: activation_bits must be one of"),
        (Sweep, {"width": (0.5,)}, "sweep: width must be in [1, 16]"),
        (Sweep, {"weight_bits": (4, 4)}, "sweep.weight_bits must name each value once"),
        (Sweep, {"weight_bits": ()}, "sweep must have a grid or plans"),
        (Sweep, {"width": ()}, "sweep must have a grid or plans"),
        (Sweep, {"seeds": ()}, "sweep.seeds must be whole numbers"),
        (Sweep, {"seeds": (-1,)}, "sweep.seeds must be whole numbers"),
        (Sweep, {"seeds": (True,)}, "sweep.seeds must be whole numbers"),
        (Sweep, {"seeds": (2**32,)}, "sweep.seeds must be whole numbers"),
        (Training, {"steps": "3"}, "steps must be a whole number"),
        (Training, {"lr": "1e-3"}, "lr must be a number"),
        (Training, {"lr": None}, "lr must be a number"),
        (Scheme, {"activation_clip": "no"}, "quantizer.activation_clip must be true or false"),
        (Widening, {"max_share": True}, "widening.max_share must be a number"),
        (Search, {"trials": "3"}, "trials must be a whole number"),
        (Search, {"trials": 2.5}, "trials must be a whole number"),
        (Search, {"qat": {"steps": 3}}, "qat must be an autoquant.Training"),
        (Sweep, {"test": 1}, "sweep.test must be true or false"),
        (Sweep, {"init_from": "middle"}, "sweep.init_from must be baseline or scratch"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_says_what_must_hold_then_what_came(cls, bad, rule):
    with pytest.raises(UserError) as caught:
        cls(**bad)
    message = str(caught.value)
    assert message.startswith(rule)
    assert ", got " in message


def test_a_mean_scale_is_one_for_the_tensor():
    with pytest.raises(
        UserError, match=r"=mean needs quantizer.granularity=tensor, got 'channel'$"
    ):
        Scheme(scale="mean")
    with pytest.raises(
        UserError, match=r"joint_recurrent needs quantizer.scale=mean, got 'learned'$"
    ):
        Scheme(joint_recurrent=True)
    assert Scheme(scale="mean", granularity="tensor", joint_recurrent=True).joint_recurrent


# --- what they compute ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (Training(epochs=2.0), 200),
        (Training(epochs=0.25), 25),
        (Training(epochs=0.001), 1),
        (Training(epochs=5.0, steps=7), 7),
        (Training(epochs=5.0, steps=0), 0),
    ],
    ids=["epochs", "fraction", "at-least-one", "steps-win", "no-training"],
)
def test_length(training, expected):
    assert training.length(steps_per_epoch=100) == expected


def test_bit_rnn_has_a_field_for_each_of_its_peculiarities():
    scheme = Scheme.bit_rnn()
    assert (scheme.scale, scheme.granularity, scheme.grid) == ("mean", "tensor", "midrise")
    assert (scheme.reparametrization, scheme.clip_gradient) == ("tanh", "pass")
    assert (scheme.activation_scale, scheme.activation_clip) == ("unit", False)
    assert scheme.joint_recurrent
    assert scheme.bias_bits == 32
    assert Scheme.bit_rnn(bias_bits=8) == replace(scheme, bias_bits=8)


def test_three_levels_are_among_the_usual_choices():
    assert Space().weight_bits == (1, 1.6, 2, 3, 4, 5, 6, 8)
    assert [type(bits) for bits in Space().weight_bits].count(float) == 1
    assert Search(references=[4, 1.6]).references == (4, 1.6)
    rules = Search(rules={"a": {"weight_bits": 1.6, "recurrent_bits": [1.6, 4]}}).rules
    assert rules == {"a": {"weight_bits": (1.6,), "recurrent_bits": (1.6, 4)}}


def test_lists_become_tuples():
    space = Space(weight_bits=[2, 4], activation_bits=[8], width=[1.0, 1.5])
    assert (space.weight_bits, space.activation_bits, space.width) == ((2, 4), (8,), (1.0, 1.5))
    assert Search(references=[8, 4]).references == (8, 4)


# --- from plain values ---------------------------------------------------------------------------


@ALL
def test_survives_json(cls):
    assert from_dict(cls, json.loads(json.dumps(asdict(cls())))) == cls()


def test_reads_nested_values():
    values = {
        "trials": 3,
        "qat": {"steps": 5, "lr": 0.01},
        "space": {"weight_bits": [2, 4]},
        "quantizer": asdict(Scheme.bit_rnn()),
    }
    expected = Search(
        trials=3,
        qat=Training(steps=5, lr=0.01),
        space=Space(weight_bits=(2, 4)),
        quantizer=Scheme.bit_rnn(),
    )
    assert from_dict(Search, values) == expected


@pytest.mark.parametrize(
    ("values", "came"),
    [({"trails": 3}, "'trails'"), ({"qat": {"step": 5}}, "'qat.step'")],
    ids=["top", "nested"],
)
def test_names_the_unknown_key(values, came):
    with pytest.raises(UserError, match="settings must be among") as caught:
        from_dict(Search, values)
    assert str(caught.value).endswith(f"got {came}")


def test_a_setting_by_its_earlier_name():
    assert from_dict(Sweep, {"start": "scratch"}, "sweep.") == Sweep(init_from="scratch")
    with pytest.raises(UserError, match=r"must be among .*, got 'start'"):
        from_dict(Search, {"start": "scratch"})


# --- rules by name --------------------------------------------------------------------------------


def test_rules_are_normalised_and_come_back_from_a_dict() -> None:
    rules: Any = {"rnn.*": {"weight_bits": [4, 8], "width": 1}, 0: {"hidden_bits": 8}}
    search = Search(rules=rules)
    assert search.rules == {
        "rnn.*": {"weight_bits": (4, 8), "width": (1,)},
        "0": {"hidden_bits": (8,)},
    }
    assert from_dict(Search, asdict(search)) == search
    assert hash(search) == hash(Search())
    assert Search(rules=None).rules == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        (4, "rules must map layer names to choices"),
        ({1.1: {}}, r"names or patterns of layers as keys \(quoted\), got 1.1"),
        ({"a": 8}, r"rules.a must be like \{weight_bits: 8\}, got 8"),
        ({"a": {"bits": 8}}, "rules.a must have keys among weight_bits, .*, got 'bits'"),
        ({"a": {"weight_bits": []}}, "rules.a.weight_bits must have a choice"),
        ({"a": {"weight_bits": [8, 4]}}, r"rules.a.weight_bits must rise, got \[8, 4\]"),
        ({"a": {"weight_bits": 9}}, "rules.a: weight_bits must be one of 1, 1.6, 2, .*, got 9"),
        ({"a": {"hidden_bits": 1}}, "rules.a: hidden_bits must be one of 2, 3, .*, got 1"),
        ({"a": {"recurrent_bits": None}}, "rules.a: recurrent_bits must be a number, got None"),
        ({"a": {"width": 0.5}}, r"rules.a: width must be in \[1, 16\], got 0.5"),
        ({"a": {"width": "1"}}, "rules.a: width must be a number, got '1'"),
    ],
)
def test_rules_that_are_refused(rules: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        Search(rules=rules)


TEXT = "budget must be a text such as '0.15x', '2.5MB' or '4.5bpw'"
LOOKS = "budget must look like 0.15x, 2.5MB, 1.5MiB or 4.5bpw"
WRITTEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a share": (Search, {"budget": 0.2}, f"{TEXT}, got 0.2; write budget='0.2x'"),
    "a share of numpy": (
        *(Search, {"budget": np.float64(0.25)}),
        f"{TEXT}, got {np.float64(0.25)!r}; write budget='0.25x'",
    ),
    "bytes": (Search, {"budget": 2500}, f"{TEXT}, got 2500"),
    "a bool": (Search, {"budget": True}, f"{TEXT}, got True"),
    "none": (Search, {"budget": None}, f"{TEXT}, got None"),
    "malformed": (Search, {"budget": "0.2"}, f"{LOOKS}, got '0.2'"),
    "nothing": (Search, {"budget": "0x"}, "budget must be above 0, got '0x'"),
    "budgets": (Sweep, {"budgets": (0.2,)}, f"sweep.{TEXT[:6]}s{TEXT[6:]}, got 0.2; write '0.2x'"),
    "a malformed one": (Sweep, {"budgets": ("1 x y",)}, f"{LOOKS}, got '1 x y'"),
    "a section": (
        *(Search, {"qat": {"steps": 3, "keep": "best"}}),
        "qat must be an autoquant.Training, got {'steps': 3, 'keep': 'best'}; "
        "write qat=aq.Training(steps=3, keep='best')",
    ),
    "another section": (
        *(Search, {"space": Widening()}),
        f"space must be an autoquant.Space, got {Widening()!r}; write space=aq.Space(...)",
    ),
    "odd names": (
        *(Search, {"widening": {"max share": 1}}),
        "widening must be an autoquant.Widening, got {'max share': 1}; "
        "write widening=aq.Widening(...)",
    ),
    "lsq": (
        *(Search, {"quantizer": "lsq"}),
        "quantizer must be an autoquant.Scheme, got 'lsq'; write quantizer=aq.Scheme()",
    ),
    "bit_rnn": (
        *(Search, {"quantizer": "bit_rnn"}),
        "quantizer must be an autoquant.Scheme, got 'bit_rnn'; write quantizer=aq.Scheme.bit_rnn()",
    ),
    "references": (
        *(Search, {"references": 8}),
        "references must be a list, got 8; write references=[8]",
    ),
    "seeds": (Sweep, {"seeds": 3}, "sweep.seeds must be a list, got 3; write seeds=[3]"),
    "bits": (
        *(Space, {"weight_bits": "4"}),
        "space.weight_bits must be a list, got '4'; write weight_bits=['4']",
    ),
    "a number as a text": (Search, {"seed": "1"}, "seed must be a whole number, got '1'"),
    "a path": (
        Search,
        {"pretrained": 3},
        "pretrained must be a path, a module or a state_dict, got 3",
    ),
    "a device": (
        *(Search, {"device": 0}),
        "device must be a text such as 'cpu' or 'cuda:0', or a torch.device, got 0",
    ),
    "a kernel": (
        *(Search, {"kernel": 3}),
        "kernel must be one of auto, native, torch, reference, or an import path, got 3",
    ),
    "a sampler": (
        *(Search, {"sampler": None}),
        "sampler must be one of program, tpe, gp, nsga2, random, or an import path, got None",
    ),
}


@pytest.mark.parametrize(("cls", "given", "line"), WRITTEN.values(), ids=WRITTEN)
def test_a_wrong_type_is_refused_with_what_to_write(cls, given, line):
    with pytest.raises(UserError) as caught:
        cls(**given)
    assert str(caught.value) == line


def test_every_field_refuses_an_object_and_is_named():
    sections = {Scheme: "quantizer.", Widening: "widening.", Space: "space.", Sweep: "sweep."}
    for cls in (Search, Training, *sections):
        for field in fields(cls):
            with pytest.raises(UserError) as caught:
                cls(**{field.name: object()})
            message = str(caught.value)
            assert message.startswith(f"{sections.get(cls, '')}{field.name} must "), message
            assert len(message.splitlines()) == 1


def test_a_budget_may_be_a_budget():
    assert Search(budget=Budget.parse("2.5 mb")).budget == "2.5MB"


def test_a_training_that_was_read_names_its_section():
    with pytest.raises(UserError, match=r"^qat\.lr must be above 0, got -1$"):
        from_dict(Search, {"qat": {"lr": -1}})
    with pytest.raises(UserError, match=r"^quantizer\.norms must be one of"):
        from_dict(Search, {"quantizer": {"norms": "x"}})


def test_autocast_is_one_of_three() -> None:
    with pytest.raises(UserError, match="autocast must be none, bfloat16 or float16, got 'half'"):
        Training(autocast="half")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("distill", 0.5, "baseline.distill must be 0"),
        ("dropout", 0.0, "baseline.dropout must be 1"),
    ],
)
def test_the_float_model_trains_without_a_teacher_and_with_its_dropout(field, value, rule):
    with pytest.raises(UserError, match=rule):
        Search(baseline=Training(**{field: value}))


@pytest.mark.parametrize(
    ("field", "value"), [("keep", "first"), ("distill", 1.5), ("dropout", -0.1), ("optimizer", "x")]
)
def test_odd_trainings_are_refused(field, value):
    with pytest.raises(UserError, match=f"{field} must be"):
        Training(**{field: value})
