"""Manifest: the tensors that the packed file of a plan holds, and so its size before it exists.

Sizes are not estimated: ``entries`` lists the tensors of the packed file, and
``packed_file.save`` writes exactly these. Scales, biases, tensors that stay as they are, the header
and its checksums are all counted. The file's own format is safetensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.bitpacking import packed_bytes
from autoquant.settings import Scheme

FORMAT_VERSION = 2
METADATA_KEY = "autoquant"
CHECKSUM = "0" * 64  # stands for a SHA-256 in hexadecimal

# safetensors' names of torch types, in the order in which it sorts tensors (last first)
DTYPES = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "int16": ("I16", 2),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "int32": ("I32", 4),
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "int64": ("I64", 8),
}
_RANKS = {name: rank for rank, (name, _) in enumerate(DTYPES.values())}
_WIDTHS = dict(DTYPES.values())


@dataclass(frozen=True)
class Entry:
    """A tensor in a packed file: its name, safetensors type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return _WIDTHS[self.dtype] * math.prod(self.shape)


def entries(network: Network, plan: Plan, scheme: Scheme) -> tuple[Entry, ...]:
    """Every tensor that the packed file of a plan holds, in the order of the file.

    Args:
        network: the network at the plan's widths (``network.resized(plan)``).
    """
    listed = [Entry(each.name, DTYPES[each.dtype][0], each.shape) for each in network.unquantized]
    for layer in network.layers:
        listed += _layer_entries(layer, plan[layer.name], scheme)
    for norm in network.norms:
        listed += [Entry(norm.full_name(p.name), "F32", p.shape) for p in norm.parameters]
    return tuple(sorted(listed, key=lambda entry: (-_RANKS[entry.dtype], entry.name)))


@cache
def _layer_entries(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> tuple[Entry, ...]:
    entries = []
    for parameter in layer.parameters:
        if parameter.shared:  # stored with its other layer
            continue
        name = layer.full_name(parameter.name)
        bits = scheme.bits_of(parameter.role, choice)
        if bits > 8:
            entries.append(Entry(name, "F16" if bits == 16 else "F32", parameter.shape))
            continue
        rows = parameter.shape[0] if len(parameter.shape) > 1 else 1
        scales = rows if scheme.granularity == "channel" else 1
        entries.append(Entry(f"{name}.codes", "U8", (packed_bytes(parameter.count, bits),)))
        entries.append(_scale_entry(f"{name}.scale", scales, scheme))
    entries += [
        Entry(layer.full_name(name), "F32", (2,)) for name in activation_quantizers(layer, choice)
    ]
    if layer.recurrent and layer.grown:
        dtype = "I16" if layer.units < 1 << 15 else "I32"
        entries.append(Entry(layer.full_name("unit_sources"), dtype, (layer.units,)))
    return tuple(entries)


def _scale_entry(name: str, count: int, scheme: Scheme) -> Entry:
    """How the step sizes of a parameter are stored; bytes begin with what they are counted from."""
    bits = scheme.scale_bits_of(count)
    if bits == 8:
        return Entry(name, "U8", (1 + count,))
    return Entry(name, "BF16" if bits == 16 else "F32", (count,))


def activation_quantizers(layer: LayerSpec, choice: LayerChoice) -> dict[str, int]:
    """The bits of a layer's activation quantizers with stored step sizes, by their name."""
    bits = {}
    if layer.multiplies and choice.activation_bits <= 8:
        bits["input_quantizer"] = choice.activation_bits
    if layer.recurrent and choice.state_bits <= 8:
        bits["hidden_quantizer"] = choice.state_bits
    return bits


# --- bytes ---------------------------------------------------------------------------------------


def metadata(
    network: Network, plan: Plan, scheme: Scheme, checksums: Mapping[str, str]
) -> dict[str, str]:
    """The packed file's metadata: one JSON string. Its length does not depend on the checksums.

    Args:
        network: at the plan's widths.
    """
    content: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "plan": plan.to_dict(),
        "sizes": {name: list(sizes) for name, sizes in network.sizes().items()},
        "scheme": asdict(scheme),
        "sha256": dict(checksums),
    }
    content["digest"] = digest(content)
    return {METADATA_KEY: json.dumps(content, separators=(",", ":"))}


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the metadata's compact JSON, without the digest itself."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def header_bytes(listed: tuple[Entry, ...], meta: Mapping[str, str]) -> int:
    """Bytes before the tensors: a length of 8 bytes and safetensors' JSON, padded to 8."""
    header: dict[str, Any] = {"__metadata__": dict(meta)}
    offset = 0
    for entry in listed:
        ends = [offset, offset + entry.bytes]
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    return 8 + math.ceil(len(text.encode()) / 8) * 8


def size_bytes(network: Network, plan: Plan, scheme: Scheme) -> int:
    """Bytes of the packed file of a plan, header included, before it is trained or even built.

    Args:
        network: the original network; the plan's widths are applied here.
    """
    grown = network.resized(plan)
    listed = entries(grown, plan, scheme)
    meta = metadata(grown, plan, scheme, {entry.name: CHECKSUM for entry in listed})
    return header_bytes(listed, meta) + sum(entry.bytes for entry in listed)
