"""Forged files of version 3: altered, their digest computed again. Each is refused in one line."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.artifact import packed_file
from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from tests.artifact import fuzz

Change = Callable[[fuzz.File3], Any]
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def widened() -> fuzz.Base:
    """Table and recurrent layers have 6 units in place of 4."""
    return fuzz.base_of(Scheme(), LayerChoice(4, 8), 1.5)


def refused(file: fuzz.File3, path: Path) -> str:
    path.write_bytes(file.bytes(random.Random(0)))
    with pytest.raises(UserError) as caught:
        packed_file.load(path, fuzz.build())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"'{path}' ")
    assert len(message) < 500
    return message


# --- the network ----------------------------------------------------------------------------------

NAME, KIND, UNITS, FEATURES, DIRECTIONS, BLOCKS, FLAGS, PARAMETERS, INPUT, OUTPUT, GROUP = range(11)
LAYERS = {name: n for n, name in enumerate(("table", "rnn.l0", "rnn.l1", "head", "norm"))}


def layer(name: str, column: int, value: Any) -> Change:
    def change(file: fuzz.File3) -> None:
        assert file.model["layers"][LAYERS[name]][column] != value
        file.model["layers"][LAYERS[name]][column] = value

    return change


def several(*changes: Change) -> Change:
    def change(file: fuzz.File3) -> None:
        for each in changes:
            each(file)

    return change


def widths(*values: float) -> Change:
    def change(file: fuzz.File3) -> None:
        file.choices = [(*c[:4], w) for c, w in zip(file.choices, values, strict=True)]

    return change


def text(value: str) -> Change:
    return lambda file: setattr(file, "text", value.encode())


NETWORKS: dict[str, tuple[Change, str]] = {
    "no features": (layer("head", FEATURES, 0), "a number that is out of bounds"),
    "no units": (layer("rnn.l0", UNITS, 0), "a number that is out of bounds"),
    "features below zero": (layer("head", FEATURES, -4), "out of bounds"),
    "huge features": (layer("head", FEATURES, 10**40), "out of bounds"),
    "features of another type": (layer("head", FEATURES, 4.5), "out of bounds"),
    "more features": (layer("head", FEATURES, 6), "as many features as the layer has"),
    "another kind": (layer("rnn.l0", KIND, "rnn_relu"), "rnn.l0 must be lstm 4 -> 4, got rnn_relu"),
    "another name": (layer("head", NAME, "tail"), "it has no layer head"),
    "a name twice": (layer("head", NAME, "table"), "names that differ"),
    "a name of a number": (layer("head", NAME, 3), "int in place of str"),
    "three directions": (layer("rnn.l0", DIRECTIONS, 3), "out of bounds"),
    "other parameters": (
        layer("head", PARAMETERS, [["weight", "w o3 i4", ""]]),
        "head must have the same parameters",
    ),
    "an axis of text": (layer("head", PARAMETERS, [["weight", "w x", ""]]), "an axis"),
    "a parameter of text": (layer("head", PARAMETERS, ["weight"]), "str in place of list"),
    "a reader of fixed features": (layer("rnn.l1", INPUT, "4"), "a reader and a writer"),
    "a reader of another group": (layer("rnn.l1", INPUT, "0:4"), "a reader and a writer"),
    "a reader of other parts": (layer("rnn.l1", INPUT, "1:4.1"), "a reader and a writer"),
    "a reader of halves": (layer("rnn.l1", INPUT, "1:2 1:2"), "one size of a part"),
    "a group that is none": (layer("rnn.l1", INPUT, "9:4"), "out of bounds"),
    "a layout of text": (layer("rnn.l1", INPUT, "four"), "a layout that is none"),
    "a norm that reads other units": (layer("norm", INPUT, "1:4"), "a norm that writes"),
    "a last layer that grows": (layer("head", OUTPUT, "3:3"), "a reader and a writer"),
    "a writer of another group": (layer("rnn.l1", OUTPUT, "1:4"), "writes its own units"),
    "a group of a later layer": (layer("table", GROUP, 3), "out of bounds"),
    "a fixed layer that is wider": (widths(1.5, 1.5, 1.5, 2.0), "width of head must be 1.0"),
    "one width less": (lambda file: file.choices.pop(), "a plan for other layers"),
    "a width below 1": (widths(0.5, 1.0, 1.0, 1.0), r"width must be in \[1, 16\]"),
    "a width that is no number": (widths(NAN, 1.0, 1.0, 1.0), r"width must be in \[1, 16\]"),
    "an infinite width": (widths(INF, 1.0, 1.0, 1.0), r"width must be in \[1, 16\]"),
    "bits of none": (
        lambda file: file.choices.__setitem__(0, (0, 40, 0, 0, 1.0)),
        "weight_bits must be one of",
    ),
    "a negative eps": (lambda file: setattr(file, "eps", [-1.0]), "an eps that is not finite"),
    "an infinite eps": (lambda file: setattr(file, "eps", [INF]), "an eps that is not finite"),
    "an eps more": (lambda file: file.eps.append(1.0), "a plan for other layers"),
    "bytes of nothing": (lambda file: setattr(file, "data", b""), "0 bytes of tensors in place"),
    "huge assets": (
        lambda file: file.model["assets"].append(["a", 1 << 40]),
        "bytes of tensors in place of",
    ),
    "assets below zero": (lambda file: file.model["assets"].append(["a", -1]), "assets that"),
    "an unknown scale rule": (
        lambda file: file.model["scheme"].update(scale="mine"),
        r"may need a module of yours that is not imported \(AUTOQUANT_PLUGINS",
    ),
    "an unknown field of the scheme": (
        lambda f: f.model["scheme"].update(x=1),
        "a readable header",
    ),
    "no scheme": (lambda file: file.model.pop("scheme"), "other contents"),
    "another tensor": (
        lambda file: file.model["tensors"].append(["more", "uint8", [0]]),
        "tensors outside of layers must be the same, got more",
    ),
    "a tensor of another type": (
        lambda file: file.model["tensors"][0].__setitem__(1, "object"),
        "a readable header",
    ),
    "no JSON": (text("{"), "a readable header"),
    "no object": (text("null"), "other contents"),
    "deep nesting": (text("[" * 100_000 + "]" * 100_000), "nested too deeply"),
    "deep objects": (text('{"a":' * 100_000 + "1" + "}" * 100_000), "nested too deeply"),
    "a key twice": (text('{"assets":[],"assets":[]}'), "a key that is there twice"),
    "not a number": (text('{"assets":[NaN]}'), "the number NaN"),
    "a huge number": (text('{"assets":[' + "9" * 9999 + "]}"), "a readable header"),
    "a bomb": (text(" " * (1 << 26) + "null"), "do not end where they should"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_forged_network_is_refused(name: str, widened: fuzz.Base, tmp_path: Path) -> None:
    change, says = NETWORKS[name]
    file = fuzz.file3(widened)
    change(file)
    message = refused(file, tmp_path / "forged")
    assert re.search(says, message), message


def test_a_consistent_lie_is_found_when_the_layer_is_called(
    widened: fuzz.Base, tmp_path: Path
) -> None:
    """A head that reads the table, by its file, and the last recurrent layer fixed."""
    file = fuzz.file3(widened)
    for change in (
        layer("rnn.l1", OUTPUT, "4"),
        layer("head", INPUT, "0:4"),
        layer("norm", INPUT, "4"),
        layer("norm", OUTPUT, "4"),
        widths(1.5, 1.5, 1.0, 1.0),
    ):
        change(file)
    (tmp_path / "forged").write_bytes(file.bytes(random.Random(0)))
    loaded = packed_file.load(tmp_path / "forged", fuzz.build())
    with pytest.raises(UserError, match="inputs of head must have 6 features, got 4"):
        loaded(fuzz.words())


# --- numbers --------------------------------------------------------------------------------------

VALUES: dict[str, tuple[Scheme, LayerChoice, str, float, str]] = {
    f"{scheme} {name} {value}": (fuzz.SCHEMES[scheme], choice, name, value, says)
    for scheme, choice, name, values, says in (
        (
            "default",
            LayerChoice(4, 8),
            "head.weight.scale",
            (NAN, INF, -1.0, 0.0),
            "scales must be",
        ),
        ("default", LayerChoice(4, 8), "rnn.l0.weight_hh.scale", (NAN, INF), "scales must be"),
        ("default", LayerChoice(4, 8), "table.weight.scale", (NAN, -INF), "scales must be"),
        ("float32 scales", LayerChoice(4, 8), "head.weight.scale", (NAN, INF), "scales must be"),
        ("scales of 8 bits", LayerChoice(4, 8), "head.weight.scale", (0,), r"scales must be in \["),
        ("default", LayerChoice(4, 8), "head.bias", (NAN, INF), "half precision must be finite"),
        ("default", LayerChoice(16, 8), "head.weight", (NAN,), "half precision must be finite"),
        ("default", LayerChoice(1.6, 8), "head.weight.codes", (243, 255), "must be below 243"),
        (
            "default",
            LayerChoice(4, 8),
            "rnn.l0.unit_sources",
            (4, -2, 999),
            r"must be in \[-1, 4\)",
        ),
        ("half norms", LayerChoice(4, 8), "norm.folded_scale", (NAN, INF), "must be finite"),
        ("half norms", LayerChoice(4, 8), "norm.folded_shift", (NAN,), "must be finite"),
        ("default", LayerChoice(4, 8), "head.input_quantizer", (NAN, INF, 900, -900), "logarithm"),
    )
    for value in values
}


@pytest.mark.parametrize("case", VALUES)
def test_numbers_that_autoquant_does_not_write(case: str, tmp_path: Path) -> None:
    scheme, choice, name, value, says = VALUES[case]
    file = fuzz.file3(_base(scheme, choice))
    file.tensors[name] = file.tensors[name].clone()
    file.tensors[name].view(-1)[0] = value
    message = refused(file, tmp_path / "forged")
    assert re.search(says, message), message
    assert f"must hold what autoquant writes: {name.rpartition('.')[0]}" in message


@pytest.mark.parametrize("qmin", [NAN, 1.0, -3.0, -256.0, INF])
def test_a_grid_that_begins_elsewhere(qmin: float, tmp_path: Path) -> None:
    file = fuzz.file3(_base(Scheme(), LayerChoice(4, 8)))
    file.tensors["rnn.l0.hidden_quantizer"] = torch.tensor([-3.0, qmin])
    message = refused(file, tmp_path / "forged")
    assert "rnn.l0.hidden_quantizer: the smallest code must be 0 or -128, got" in message


_BASES: dict[tuple[Scheme, LayerChoice], fuzz.Base] = {}


def _base(scheme: Scheme, choice: LayerChoice) -> fuzz.Base:
    if (scheme, choice) not in _BASES:
        _BASES[scheme, choice] = fuzz.base_of(scheme, choice, 1.5)
    return _BASES[scheme, choice]


def test_a_truth_value_is_0_or_1(tmp_path: Path) -> None:
    file = fuzz.file3(_base(Scheme(), LayerChoice(4, 8)))
    file.model["tensors"][0] = ["gain", "bool", [12]]
    file.tensors["gain"] = torch.tensor([2] * 12, dtype=torch.uint8).view(torch.bool)
    assert "a truth value that is neither 0 nor 1" in refused(file, tmp_path / "forged")


def test_unquantized_tensors_may_hold_anything(tmp_path: Path) -> None:
    file = fuzz.file3(_base(Scheme(), LayerChoice(32, 32)))
    file.tensors["gain"] = torch.tensor([NAN, INF, 1.0])
    file.tensors["norm.running_mean"] = torch.full_like(file.tensors["norm.running_mean"], NAN)
    (tmp_path / "odd").write_bytes(file.bytes(random.Random(0)))
    assert torch.equal(
        packed_file.load(tmp_path / "odd", fuzz.build()).gain.isnan(),
        torch.tensor([True, False, False]),
    )


# --- files at random ------------------------------------------------------------------------------


def test_valid_files_are_loaded(tmp_path: Path) -> None:
    """What the fuzzer alters: without an alteration all outputs are equal and finite."""
    for base in fuzz.bases():
        (tmp_path / "valid").write_bytes(fuzz.file3(base).bytes(random.Random(0)))
        assert fuzz.outcome(tmp_path / "valid") == "equal"
        if base.scheme.norms == "float":
            content = fuzz.version2_files.content_of(base.network, base.plan, base.scheme)
            complete = fuzz.version2_files.with_digests(content, base.tensors)
            data = fuzz.version2_files.file_of(complete, base.tensors)
            (tmp_path / "valid").write_bytes(data)
            assert fuzz.outcome(tmp_path / "valid") == "equal"


@pytest.mark.parametrize(
    "numbers",
    [range(300), pytest.param(range(300, 20_000), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_forged_files_are_refused_or_compute_the_same_each_time(
    numbers: range, tmp_path: Path
) -> None:
    counts, failures = fuzz.run(0, numbers, tmp_path)
    assert failures == []
    assert counts["refused"] > 0.5 * len(numbers)
    assert counts["equal"] > 0.05 * len(numbers)


def test_a_forged_file_follows_from_its_seed_and_number() -> None:
    files = [partial(fuzz.forged, seed, number) for seed in (0, 1) for number in (3, 4)]
    data = [make() for make in files]
    assert [make() for make in files] == data
    assert len({content for content, _ in data}) == 4


def test_the_fuzzer_tells_wrong_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path, model: Any) -> Any:
        if "error" in str(path):
            raise RuntimeError("a shape")
        return lambda words: torch.rand(10, 3) if "random" in str(path) else torch.rand(10, 4)

    monkeypatch.setattr(packed_file, "load", load)
    assert fuzz.outcome(tmp_path / "error") == "wrong: RuntimeError: a shape"
    assert fuzz.outcome(tmp_path / "random") == "wrong: outputs differ"
    assert fuzz.outcome(tmp_path / "shape") == "wrong: a shape of [10, 4]"


def test_json_of_a_valid_file(widened: fuzz.Base) -> None:
    """The columns that the cases above name."""
    rows = fuzz.file3(widened).model["layers"]
    assert [row[NAME] for row in rows] == [*LAYERS]
    assert json.dumps(rows[LAYERS["head"]]) == (
        '["head", "linear", 3, 4, 1, 1, 1, [["weight", "w o3 i4", ""], ["bias", "b o3", ""]], '
        '"2:4", "3", 3]'
    )
