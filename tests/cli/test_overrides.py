"""Arguments of a command in Hydra's grammar, as its own parser reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from autoquant.cli.overrides import shows_configuration, to_overrides
from tests.cli.typed import refused, run


def read(*arguments: str) -> Any:
    """The value that Hydra reads from the last argument; of a sweep, the list of them."""
    override = OverridesParser.create().parse_override(to_overrides(arguments)[-1])
    if override.is_sweep_override():
        return list(override.sweep_iterator())
    return override.value()


PATHS = ["a b", "ünï code", "a=b,c", "quote's", 'a"b', "a\\", 'a\\"', "a\\,b", " a ", "a(b)", "a[b"]
PATHS += ["C:\\x\\y", "a\tb", "x~y", "a#b;c&d!", "1e3", "1_0", "1.50", "true", "", "'a", "12"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["study", "task.root"])
def test_a_path_is_read_as_it_is_typed(key, path):
    assert str(read(f"{key}={path}")) == path


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("study='a b'", "a b"),
        ('study="a,b"', "a,b"),
        ("plan=null", None),
        ("study=runs/${budget}", "runs/${budget}"),
        ("study=[a]", ["a"]),
    ],
    ids=["single quotes", "double quotes", "null", "interpolation", "list"],
)
def test_what_hydra_takes_is_left_as_it_is(typed, value):
    assert to_overrides([typed]) == [typed]
    assert read(typed) == value


@pytest.mark.parametrize("typed", ["budget=0.1x,0.2x", "-m", "--cfg", "hydra.verbose=true", "a"])
def test_other_arguments_are_left_as_they_are(typed):
    assert to_overrides([typed]) == [typed]


@pytest.mark.parametrize("option", ["-m", "--multirun"])
def test_commas_part_the_values_of_several_runs(option):
    assert read("study=a,b") == "a,b"
    assert read(option, "study=a,b") == ["a", "b"]
    assert read(option, "study=a b") == "a b"
    assert read(option, 'study="a,b"') == "a,b"


RULES = {
    'rules={"rnn.*": {recurrent_bits: [3, 5], width: 1.0}}': {
        "rnn.*": {"recurrent_bits": [3, 5], "width": 1.0}
    },
    "rules={'a[0-9]*':{width:[1.0,2.0]},decoder:{weight_bits:8}}": {
        "a[0-9]*": {"width": [1.0, 2.0]},
        "decoder": {"weight_bits": 8},
    },
    "rules={rnn.*: {width: 1.0}, *: {weight_bits: 8}}": {
        "rnn.*": {"width": 1.0},
        "*": {"weight_bits": 8},
    },
    'rules={"a b": {width: 1.0}}': {"a b": {"width": 1.0}},
    'rules={"a": {weight_bits: "x"}, "b": {width: null}}': {
        "a": {"weight_bits": "x"},
        "b": {"width": None},
    },
    "rules={}": {},
    "rules.rnn.*.width=1.0": {"rnn.*": {"width": 1.0}},
    "rules.a[0-9]*.weight_bits=[4,8]": {"a[0-9]*": {"weight_bits": [4, 8]}},
    "+rules.decoder.width=1": {"decoder": {"width": 1}},
}


@pytest.mark.parametrize("typed", RULES)
def test_rules_are_additions_to_a_mapping(typed):
    (written,) = to_overrides([typed])
    assert written.startswith("++rules=")
    assert read(typed) == RULES[typed]


def test_several_rules_are_several_runs():
    typed = 'rules={"rnn.*": {width: 1.0}},{"rnn.*": {width: 2.0}}'
    assert read("-m", typed) == [{"rnn.*": {"width": 1.0}}, {"rnn.*": {"width": 2.0}}]


@pytest.mark.parametrize("typed", ["rules=5", "rules=[1,2]", "rules=null", 'rules={"a": {'])
def test_what_is_no_mapping_is_left_to_hydra(typed):
    assert to_overrides([typed]) == [f"++{typed}"]


def test_broken_rules_are_refused(place):
    line = refused(run(place, "profile", 'rules={"a": {'))
    assert line.startswith("a setting must look like key=value")


@pytest.mark.parametrize("typed", ["qat.epochs=2", "++qat.epochs=1,2"])
def test_epochs_that_are_typed_replace_the_steps_of_a_file(typed):
    assert to_overrides([typed, "trials=1"]) == [typed, "qat.steps=null", "trials=1"]
    assert to_overrides([typed, "qat.steps=3"]) == [typed, "qat.steps=3"]
    assert to_overrides(["epochs=2"]) == ["epochs=2"]


@pytest.mark.parametrize(
    ("option", "shows"),
    [
        *(("--cfg", True), ("--cfg=job", True), ("-c", True), ("-cjob", True), ("--info", True)),
        *(("-m", False), ("--config-dir=a", False), ("-cd", False), ("--resolve", False)),
    ],
)
def test_options_that_print_the_configuration(option, shows):
    assert shows_configuration(["trials=3", option]) is shows
