"""The header of a packed file of version 3: what is written before the tensors' bytes.

The file is a safetensors file with one tensor, ``data``: the bytes of all tensors, one after the
other in the manifest's order, then those of the assets. Its metadata has four texts:

- ``autoquant``: the format version;
- ``model``: network, scheme and the names and sizes of assets, as JSON, deflated;
- ``plan``: for each layer four bytes with its bits (five times as many; 0 for None) and the width,
  a float64; then the eps of each norm that is stored in float, a float64;
- ``sha256``: of the whole file, with zeros in place of the digest itself.

Bytes are written in base 85, which JSON need not escape. Only the ``model`` text varies in length.
What the number of data bytes takes in the JSON is made up for by spaces, so that the header has one
length for all plans of a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autoquant.artifact.stored_network import decode_network, encode_network
from autoquant.graph.network import Network
from autoquant.plan import Bits, LayerChoice, Plan
from autoquant.settings import Scheme

VERSION = 3
DATA = "data"
VERSION_KEY, DIGEST_KEY, PLAN_KEY, MODEL_KEY = "autoquant", "sha256", "plan", "model"
BLANK = "0" * 40
"""In place of a digest; as long as one in base 85."""

_CHOICE = struct.Struct("<BBBBd")
_EPS = struct.Struct("<d")
_PARTS = 5  # of a bit: 1.6 bits are 8 of them
_DIGITS = 13  # of the largest number of data bytes that the header has room for
_LARGEST_MODEL = 1 << 26  # bytes of the inflated ``model``

_DICTIONARY = (
    b'"embedding","linear","lstm","gru","groupnorm","conv2d","conv1d","batchnorm",1,1,1,1,'
    b'[["weight_ih","w o4 i",""],["weight_hh","r o4 h",""],["bias_hn","b o",""],'
    b'["weight","w f",""]],"",["weight","w o i",""],["bias","b o",""]],"","",'
    b'["weight","n o",""],["bias","n o",""],["running_mean","n o",""],["running_var","n o",""]],'
    b'"0:","0:",["weight","w o f1 f3 f3",""]],"0:","0:","layers":[["'
    b'{"scheme":{"scale":"learned","granularity":"channel","grid":"auto","reparametrization":"none"'
    b',"clip_gradient":"mask","joint_recurrent":false,"scale_bits":16,"bias_bits":16,'
    b'"activation_scale":"learned","activation_clip":true,"norms":"float"},"assets":[],"layers":[["'
)
"""What most models have in their JSON: short texts are deflated better with it. Part of the format:
another dictionary is another version."""


@dataclass(frozen=True)
class Header:
    """What a packed file says of itself.

    Attributes:
        plan: bits and widths of every layer.
        scheme: how numbers became codes.
        sizes: of layers that have grown, by name: units and features, and both before growing.
        eps: of the norms whose eps is stored, by name.
        assets: bytes that a task stored in the file, by name.
        network: before growing; None in a file of version 2, which does not hold it.
    """

    plan: Plan
    scheme: Scheme
    sizes: Mapping[str, tuple[int, int, int, int]]
    eps: Mapping[str, float] = field(default_factory=dict)
    assets: Mapping[str, bytes] = field(default_factory=dict)
    network: Network | None = None


@dataclass(frozen=True)
class ModelText:
    """What a header holds of the model, whatever the plan.

    Attributes:
        network: before growing.
        scheme: how numbers become codes.
        assets: bytes of each asset, by name, in the order of the file.
    """

    network: Network
    scheme: Scheme
    assets: Mapping[str, int]


# --- bytes ---------------------------------------------------------------------------------------


def compose(digest: str, plan: str, model: str, data_bytes: int) -> bytes:
    """All bytes of a file before its data.

    Args:
        digest: what ``digest_of`` gave, or BLANK.
        plan: what ``encode_plan`` gave.
        model: what ``encode_model`` gave.
        data_bytes: how many bytes follow.
    """
    metadata = {VERSION_KEY: str(VERSION), DIGEST_KEY: digest, PLAN_KEY: plan, MODEL_KEY: model}
    tensor = {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}
    content = {"__metadata__": metadata, DATA: tensor}
    text = json.dumps(content, separators=(",", ":")).encode()
    longest = len(text) + 2 * (_DIGITS - len(str(data_bytes)))
    length = math.ceil(longest / 8) * 8
    return length.to_bytes(8, "little") + text.ljust(length)


def length_of(model: str, layers: int, eps: int) -> int:
    """Bytes of a file before its data.

    Args:
        model: what ``encode_model`` gave.
        layers: number of layers that a plan chooses for.
        eps: number of norms whose eps is stored.
    """
    plan = bytes(layers * _CHOICE.size + eps * _EPS.size)
    return len(compose(BLANK, _printable(plan), model, 0))


def digest_of(blank_header: bytes, data: Any) -> str:
    """SHA-256 of a file, in base 85.

    Args:
        blank_header: what ``compose`` gave for BLANK.
        data: the bytes that follow, or a buffer.
    """
    digest = hashlib.sha256(blank_header)
    digest.update(data)
    return _printable(digest.digest())


def _printable(data: bytes) -> str:
    return base64.b85encode(data).decode()


# --- the model -----------------------------------------------------------------------------------


def encode_model(content: ModelText) -> str:
    """The text ``model``.

    Args:
        content: network, scheme and assets.
    """
    text = json.dumps(model_values(content), separators=(",", ":"))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zdict=_DICTIONARY)
    return _printable(deflate.compress(text.encode()) + deflate.flush())


def model_values(content: ModelText) -> dict[str, Any]:
    """The JSON of the text ``model``.

    Args:
        content: network, scheme and assets.
    """
    return {
        "scheme": asdict(content.scheme),
        "assets": [[name, count] for name, count in content.assets.items()],
        **encode_network(content.network),
    }


def decode_model(text: str, scheme_of: Any = lambda values: Scheme(**values)) -> ModelText:
    """The inverse of ``encode_model``.

    Args:
        text: that anybody may have written.
        scheme_of: makes the scheme of its fields.

    Raises:
        ValueError: the text is not as ``encode_model`` writes it.
        UserError: a value of the scheme is not allowed.
    """
    values = parse_json(_inflated(base64.b85decode(text)))
    if type(values) is not dict or set(values) != {"scheme", "assets", "layers", "tensors"}:
        raise ValueError("other contents than scheme, assets, layers and tensors")
    network = decode_network(values)
    assets: dict[str, int] = {}
    for name, count in values["assets"]:
        whole = type(count) is int and 0 <= count < 10**_DIGITS
        if type(name) is not str or not whole or name in assets:
            raise ValueError("assets that are none")
        assets[name] = count
    if type(values["scheme"]) is not dict:
        raise ValueError("a scheme that is none")
    return ModelText(network, scheme_of(values["scheme"]), assets)


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_DICTIONARY)
    try:
        text = inflate.decompress(data, _LARGEST_MODEL)
    except zlib.error as error:
        raise ValueError("bytes that cannot be inflated") from error
    if not inflate.eof or inflate.unused_data:
        raise ValueError("bytes that do not end where they should")
    return text


def parse_json(text: bytes | str) -> Any:
    """JSON that anybody may have written.

    Args:
        text: without duplicate keys, NaN and infinity.

    Raises:
        ValueError: the text is something else, or its nesting is too deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key that is there twice")
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise ValueError(f"the number {constant}")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


# --- the plan ------------------------------------------------------------------------------------


def encode_plan(choices: Sequence[LayerChoice], eps: Sequence[float]) -> str:
    """The text ``plan``.

    Args:
        choices: of the network's layers, in their order.
        eps: of the norms whose eps is stored, in their order.
    """
    packed = [_CHOICE.pack(*map(_as_byte, _bits(choice)), choice.width) for choice in choices]
    return _printable(b"".join([*packed, *map(_EPS.pack, eps)]))


def decode_plan(text: str, layers: Sequence[str], norms: Sequence[str]) -> tuple[Plan, list[float]]:
    """The plan, and the eps of norms.

    Args:
        text: that anybody may have written.
        layers: names of the layers, in the network's order.
        norms: names of the norms whose eps is stored, in their order.

    Raises:
        ValueError: the text has another length, or an eps is no eps.
        UserError: a choice is not allowed.
    """
    data, end = base64.b85decode(text), len(layers) * _CHOICE.size
    if len(data) != end + len(norms) * _EPS.size:
        raise ValueError("a plan for other layers")
    choices = [_choice(values) for values in _CHOICE.iter_unpack(data[:end])]
    eps = [value for (value,) in _EPS.iter_unpack(data[end:])]
    if not all(0.0 <= value < math.inf for value in eps):
        raise ValueError("an eps that is not finite or below 0")
    return Plan(dict(zip(layers, choices, strict=True))), eps


def _bits(choice: LayerChoice) -> Iterator[Bits | None]:
    yield from (choice.weight_bits, choice.activation_bits)
    yield from (choice.recurrent_bits, choice.hidden_bits)


def _as_byte(bits: Bits | None) -> int:
    return 0 if bits is None else round(bits * _PARTS)


def _choice(values: tuple[Any, ...]) -> LayerChoice:
    """The choice of four bytes and a width."""
    *parts, width = values
    weight, activation, recurrent, hidden = (  # LayerChoice refuses what must not be None
        None if part == 0 else part // _PARTS if part % _PARTS == 0 else part / _PARTS
        for part in parts
    )
    return LayerChoice(weight, activation, width, recurrent, hidden)  # type: ignore[arg-type]
