"""What a plan costs: bytes of the packed file, activation bytes, operations.

Sizes are not estimated: ``manifest`` lists the very tensors that the packed file holds, and
``artifact`` writes just these. Scales, biases, tensors that stay as they are, the header and its
checksums are all counted. The file's own format is safetensors.
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
from autoquant.layers import LayerSpec, ParameterSpec
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


def manifest(network: Network, plan: Plan, scheme: Scheme) -> tuple[Entry, ...]:
    """Every tensor that the packed file of a plan holds, in the order of the file.

    Args:
        network: the network at the plan's widths (``network.resized(plan)``).
    """
    entries = [Entry(each.name, DTYPES[each.dtype][0], each.shape) for each in network.leftovers]
    for layer in network.layers:
        entries += _layer_entries(layer, plan[layer.name], scheme)
    for norm in network.norms:
        entries += [Entry(norm.full_name(p.name), "F32", p.shape) for p in norm.parameters]
    return tuple(sorted(entries, key=lambda entry: (-_RANKS[entry.dtype], entry.name)))


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


def header_bytes(entries: tuple[Entry, ...], meta: Mapping[str, str]) -> int:
    """Bytes before the tensors: a length of 8 bytes and safetensors' JSON, padded to 8."""
    header: dict[str, Any] = {"__metadata__": dict(meta)}
    offset = 0
    for entry in entries:
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
    entries = manifest(grown, plan, scheme)
    meta = metadata(grown, plan, scheme, {entry.name: CHECKSUM for entry in entries})
    return header_bytes(entries, meta) + sum(entry.bytes for entry in entries)


def layer_bytes(network: Network, plan: Plan, scheme: Scheme) -> dict[str, int]:
    """Bytes of each layer's tensors in the packed file of a plan (no header)."""
    return {
        layer.name: sum(e.bytes for e in _layer_entries(layer, plan[layer.name], scheme))
        for layer in network.resized(plan).layers
    }


# --- the rest -------------------------------------------------------------------------------------


def activation_bytes(network: Network, plan: Plan) -> float:
    """Bytes of the activations that layers read for one position: inputs and hidden states."""
    bits = 0
    for layer in network.resized(plan).layers:
        choice = plan[layer.name]
        if layer.multiplies:
            bits += layer.features * choice.activation_bits
        if layer.recurrent:
            bits += layer.directions * layer.units * choice.state_bits
    return bits / 8


def macs(network: Network, plan: Plan) -> int:
    """Multiply-accumulates for one position (a token, a frame, a sample) at the plan's widths."""
    return sum(layer.macs() for layer in network.resized(plan).layers)


def bit_ops(network: Network, plan: Plan) -> int:
    """Multiply-accumulates times the bits of both factors, for one position."""
    total: float = 0
    for layer in network.resized(plan).layers:
        if not layer.multiplies:
            continue
        choice = plan[layer.name]
        for parameter in layer.parameters:
            if parameter.is_weight:
                bits = choice.bits_of(parameter.role) * _input_bits(parameter, choice)
                total += parameter.count * bits
    return round(total)


def _input_bits(parameter: ParameterSpec, choice: LayerChoice) -> int:
    """The bits of what a weight is multiplied with."""
    if parameter.role == "weight":
        return choice.activation_bits
    reads_units = any(axis.role == "hidden" for axis in parameter.axes)
    return choice.state_bits if reads_units else 32  # a projection reads cells, as they are


def neuron_share(network: Network, plan: Plan) -> float:
    """The paper's neuron-proportional size over the float model's (Kapur et al., section 3).

    Each layer counts its bits over 32 times its width; layers weigh by their parameters. This
    ignores that growing a layer grows its consumers, and scales and header; see ``size_bytes``.
    """
    total = sum(layer.count for layer in network.layers)
    share = sum(
        layer.count * plan[layer.name].weight_bits / 32 * plan[layer.name].width
        for layer in network.layers
    )
    return share / total


@dataclass(frozen=True)
class Costs:
    """What a plan costs; operations and activations are for one position.

    Attributes:
        size_bytes: bytes of the packed file.
        activation_bytes: bytes of the inputs and hidden states that layers read.
        macs: multiply-accumulates.
        bit_ops: multiply-accumulates times the bits of both factors.
        neuron_share: the paper's neuron-proportional size over the float model's, for comparison.
    """

    size_bytes: int
    activation_bytes: float
    macs: int
    bit_ops: int
    neuron_share: float


def costs_of(network: Network, plan: Plan, scheme: Scheme) -> Costs:
    """Every cost of a plan."""
    return Costs(
        size_bytes(network, plan, scheme),
        activation_bytes(network, plan),
        macs(network, plan),
        bit_ops(network, plan),
        neuron_share(network, plan),
    )


def float_costs(network: Network) -> Costs:
    """The same of the float32 model as it is; its size is that of its tensors, without a header."""
    plan = Plan.uniform(network.names, LayerChoice())
    return Costs(
        4 * network.parameters,
        activation_bytes(network, plan),
        macs(network, plan),
        bit_ops(network, plan),
        1.0,
    )
