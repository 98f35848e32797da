"""Files of version 2 are still read, and what anybody may have altered in them is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoquant.artifact import packed_file
from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from tests import toys
from tests.artifact import version2_files
from tests.artifact.test_packed_file import Normed, candidate, refuse
from tests.toys import output_of

# The first released file format, byte by byte. Scales 1/8 and 1/16 (bfloat16), biases 0.5 and -2
# (float16), and codes 0 4 12 12 8 4, the first in the low half of its byte.
META = (
    '{"version":2,'
    '"plan":{"0":{"weight_bits":4,"activation_bits":32,"width":1.0}},'
    '"sizes":{},'
    '"scheme":{"scale":"learned","granularity":"channel","grid":"auto","reparametrization":"none",'
    '"clip_gradient":"mask","joint_recurrent":false,"scale_bits":16,"bias_bits":16,'
    '"activation_scale":"learned","activation_clip":true},'
    '"sha256":{'
    '"0.weight.scale":"0bd6bc92cf3e210cfcf707fba7b9d76e1d0343a11bb1012cfc8fde8fd7dc9fff",'
    '"0.bias":"3c6e4a5369bf5d025b8c4563aa54092899f9f25e73d8fa848e7d7a3dfb822f12",'
    '"0.weight.codes":"93208e6577514093c8257649318c7449b2d2a11db4ec99677d3581dbbb5e7f81"},'
    '"digest":"185c1ac204b42c1d3832f9bee34efaad06a3e9cc878522651f42d6073aceda6c"}'
)
HEADER = (
    '{"__metadata__":{"autoquant":' + json.dumps(META) + "},"
    '"0.weight.scale":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},'
    '"0.bias":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},'
    '"0.weight.codes":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}'
)
DATA = bytes.fromhex("003e803d" + "003800c0" + "40cc48")
PINNED = b"\xa8\x03" + bytes(6) + HEADER.encode().ljust(0x3A8) + DATA


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "pinned").write_bytes(PINNED)
    model = packed_file.load(tmp_path / "pinned", nn.Sequential(nn.Linear(3, 2)))
    assert model[0].weight.tolist() == [[-1.0, -0.5, 0.5], [0.25, 0.0, -0.25]]
    assert model[0].bias.tolist() == [0.5, -2.0]
    assert packed_file.read(tmp_path / "pinned")[0].network is None


BUILDS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: toys.stack(layers=2),
    "gru": lambda: toys.stack(cell="GRU", layers=2, bidirectional=True),
    "deep speech": lambda: toys.deep_speech(features=5),
    "batch norm": Normed,
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_widened_model_reloads_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, network, plan = candidate(BUILDS[name](), LayerChoice(4, 8), Scheme())
    assert bool(network.resized(plan).sizes()) == (name != "batch norm")
    tensors = version2_files.tensors_of(model, network, plan, Scheme())
    content = version2_files.content_of(network, plan, Scheme())
    data = version2_files.file_of(version2_files.with_digests(content, tensors), tensors)
    (tmp_path / "two").write_bytes(data)
    loaded = packed_file.load(tmp_path / "two", BUILDS[name]())
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))
    header, _ = packed_file.read(tmp_path / "two")
    assert (header.plan, header.sizes) == (plan, network.resized(plan).sizes())


# --- altered, with checksums of what was altered --------------------------------------------------


def forged(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A file of a widened stack of two layers, altered."""
    model, network, plan = candidate(toys.stack(layers=2), LayerChoice(4, 8), Scheme())
    tensors = version2_files.tensors_of(model, network, plan, Scheme())
    content = version2_files.content_of(network, plan, Scheme())
    complete = version2_files.with_digests(content, tensors)
    change(complete, tensors)
    if "digest" in complete:
        rest = {name: value for name, value in complete.items() if name != "digest"}
        complete["digest"] = version2_files.version2.digest(rest)
    path.write_bytes(version2_files.file_of(complete, tensors))
    return path


def sizes(layer: str, units: int, features: int) -> Callable[[dict[str, Any], Any], None]:
    def change(content: dict[str, Any], tensors: Any) -> None:
        content["sizes"][layer][:2] = [units, features]

    return change


FORGED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "another version": (lambda c, t: c.update(version=4), "must have format version 2 or 3, got 4"),
    "a text as version": (lambda c, t: c.update(version="x" * 999), r"version 2 or 3, got x{20}$"),
    "no version": (lambda c, t: c.pop("version"), "must have a readable header, got: no version"),
    "no plan": (lambda c, t: c.pop("plan"), "other keys than"),
    "no digest": (lambda c, t: c.pop("digest"), "other keys than"),
    "no checksum": (lambda c, t: c["sha256"].pop("back.bias"), "checksums of other tensors"),
    "no checksums": (lambda c, t: c.update(sha256={}), "checksums of other tensors"),
    "checksums of a list": (lambda c, t: c.update(sha256=[]), "checksums of other tensors"),
    "nothing as scheme": (lambda c, t: c.update(scheme=None), "must have a readable header"),
    "another key of the scheme": (lambda c, t: c["scheme"].update(x=1), "a readable header"),
    "a list as plan": (lambda c, t: c.update(plan=[]), "must map layer names to choices"),
    "a long value": (
        lambda c, t: c["plan"]["back"].update(weight_bits="9" * 10_000),
        r"weight_bits must be one of",
    ),
    "no sizes": (lambda c, t: c.update(sizes={}), "must be "),
    "sizes of text": (lambda c, t: c["sizes"].update(back="1234"), "sizes that are none"),
    "sizes of another layer": (lambda c, t: c["sizes"].update(x=[1, 1, 1, 1]), "a layer x"),
    "no features": (sizes("back", 3, 0), "sizes that are none"),
    "features below zero": (sizes("back", 3, -9), "sizes that are none"),
    "fewer features": (sizes("back", 3, 1), "must read the units of a layer"),
    "more features": (sizes("rnn.l1", 10, 99), r"rnn.l1.weight_ih.codes must be U8"),
    "fewer units": (sizes("rnn.l0", 2, 10), "must have the units of width 1.5"),
    "far more units": (sizes("rnn.l0", 10**6, 10), "must have the units of width 1.5"),
    "more units of the last layer": (sizes("back", 5, 10), "must have the units of width 1"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused(name: str, tmp_path: Path) -> None:
    change, says = FORGED[name]
    message = refuse(forged(tmp_path / "forged", change), toys.stack(layers=2))
    assert re.search(says, message), message
    assert len(message) < 700


TEXTS = {
    "no JSON": "{",
    "deep nesting": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"version":' * 100_000 + "2" + "}" * 100_000,
    "a key twice": META.replace('"sizes":{}', '"sizes":{},"sizes":{}'),
    "not a number": META.replace('"width":1.0', '"width":NaN'),
    "a huge number": META.replace('"version":2', '"version":' + "9" * 9999),
    "an altered digit": META.replace('"weight_bits":4', '"weight_bits":5'),
}


@pytest.mark.parametrize("name", TEXTS)
def test_other_metadata(name: str, tmp_path: Path) -> None:
    text = json.dumps(TEXTS[name])
    header = HEADER.replace(json.dumps(META), text).encode()
    (tmp_path / "other").write_bytes(len(header).to_bytes(8, "little") + header + DATA)
    message = refuse(tmp_path / "other", nn.Sequential(nn.Linear(3, 2)))
    assert "must " in message
    assert len(message) < 700


def test_a_layer_that_reads_what_another_one_does_not_write(tmp_path: Path) -> None:
    """Its sizes could follow from the plan: it is found when the layer is called."""
    source = toys.stack(layers=1)
    model, network, plan = candidate(source, LayerChoice(4, 8), Scheme())
    grown = network.resized(plan)
    tensors = version2_files.tensors_of(model, network, plan, Scheme())
    content = version2_files.content_of(network, plan, Scheme())
    units, features, *before = content["sizes"]["back"]
    content["sizes"]["back"] = [units, features + 2, *before]
    entry = next(p for p in grown.layers if p.name == "back").parameters[0]
    bits = entry.shape[0] * (entry.shape[1] + 2) * 4
    tensors["back.weight.codes"] = torch.zeros((bits + 7) // 8, dtype=torch.uint8)
    complete = version2_files.with_digests(content, tensors)
    (tmp_path / "forged").write_bytes(version2_files.file_of(complete, tensors))
    loaded = packed_file.load(tmp_path / "forged", toys.stack(layers=1))
    with pytest.raises(UserError, match=rf"inputs of back must have {features + 2} features"):
        loaded(torch.randn(7, 2, 5))
