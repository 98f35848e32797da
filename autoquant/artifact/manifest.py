"""Manifest: the tensors that the packed file of a plan holds, and so its size before it exists.

Sizes are not estimated: ``entries`` lists the tensors of the packed file, and ``packed_file.save``
writes exactly these. Scales, biases, unquantized tensors, the header and its checksums are all
counted. The file's own format is safetensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from autoquant.graph.network import Network
from autoquant.graph.widen import source_dtype
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.formats import format_of
from autoquant.settings import Scheme
from autoquant.training.activations import quantized_activations

FORMAT_VERSION = 2
METADATA_KEY = "autoquant"
CHECKSUM_PLACEHOLDER = "0" * 64
"""As long as a SHA-256 in hexadecimal; sizes are counted with it before tensors exist."""

# names of torch types and safetensors' names and bytes of them, in the order in which safetensors
# sorts tensors (last first)
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
    "complex64": ("C64", 8),
}
_RANKS = {name: rank for rank, (name, _) in enumerate(DTYPES.values())}
_BYTES = dict(DTYPES.values())


@dataclass(frozen=True)
class Entry:
    """A tensor in a packed file.

    Attributes:
        name: in the model, and for a quantized parameter a suffix such as ".codes".
        dtype: safetensors' name of its type, such as "F16".
        shape: of the tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of the tensor, without its share of the header."""
        return _BYTES[self.dtype] * math.prod(self.shape)


# --- tensors -------------------------------------------------------------------------------------


def entries(network: Network, plan: Plan, scheme: Scheme) -> tuple[Entry, ...]:
    """Every tensor that the packed file of a plan holds, in the order of the file.

    Args:
        network: at the plan's widths (``network.resized(plan)``).
        plan: gives the bits of each layer.
        scheme: how numbers become codes.
    """
    listed = [
        Entry(tensor.name, DTYPES[tensor.dtype][0], tensor.shape) for tensor in network.unquantized
    ]
    for layer in network.layers:
        listed += _layer_entries(layer, plan[layer.name], scheme)
    for norm in network.norms:
        listed += [Entry(norm.full_name(p.name), "F32", p.shape) for p in norm.parameters]
    return tuple(sorted(listed, key=lambda entry: (-_RANKS[entry.dtype], entry.name)))


@cache
def _layer_entries(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> tuple[Entry, ...]:
    """The tensors of one layer, in no order.

    Args:
        layer: at the plan's width.
        choice: the plan's choice for it.
        scheme: how numbers become codes.
    """
    listed: list[Entry] = []
    for parameter in layer.parameters:
        if not parameter.shared:  # one that is shared is stored with its other layer
            listed += _parameter_entries(layer, parameter, choice, scheme)
    for name in stored_quantizers(layer, choice):
        listed.append(Entry(layer.full_name(name), "F32", (2,)))
    if layer.recurrent and layer.grown:
        dtype = _entry_type(source_dtype(layer.units))
        listed.append(Entry(layer.full_name("unit_sources"), dtype, (layer.units,)))
    return tuple(listed)


def _parameter_entries(
    layer: LayerSpec, parameter: ParameterSpec, choice: LayerChoice, scheme: Scheme
) -> list[Entry]:
    """The tensors of one parameter.

    Args:
        layer: it belongs to.
        parameter: one that the layer does not share.
        choice: the plan's choice for the layer.
        scheme: how numbers become codes.
    """
    name = layer.full_name(parameter.name)
    tensors = format_of(scheme, parameter.role, choice).tensors(parameter.shape)
    return [
        Entry(name + tensor.suffix, _entry_type(tensor.dtype), tensor.shape) for tensor in tensors
    ]


def _entry_type(dtype: torch.dtype) -> str:
    return DTYPES[str(dtype).removeprefix("torch.")][0]


def stored_quantizers(layer: LayerSpec, choice: LayerChoice) -> tuple[str, ...]:
    """Names of the activation quantizers of a layer that are stored, as a logarithm and a code.

    Quantizers of 16 bits round to half precision and have nothing to store.

    Args:
        layer: any layer.
        choice: the plan's choice for it.
    """
    bits_by_name = quantized_activations(layer, choice)
    return tuple(name for name, bits in bits_by_name.items() if bits <= 8)


# --- bytes ---------------------------------------------------------------------------------------


def metadata(
    network: Network, plan: Plan, scheme: Scheme, checksums: Mapping[str, str]
) -> dict[str, str]:
    """The packed file's metadata: one JSON string. Its length does not depend on the checksums.

    Args:
        network: at the plan's widths; the sizes of layers that have grown are stored.
        plan: stored as it is.
        scheme: stored as it is.
        checksums: SHA-256 in hexadecimal of each tensor, by the tensor's name.
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
    """SHA-256 in hexadecimal of the metadata's compact JSON.

    Args:
        content: the metadata without the digest itself.
    """
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def header_bytes(listed: tuple[Entry, ...], meta: Mapping[str, str]) -> int:
    """Bytes before the tensors: a length of 8 bytes and safetensors' JSON, padded to 8.

    Args:
        listed: the tensors in the order of the file.
        meta: what ``metadata`` returned.
    """
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
        plan: bits and widths of its layers.
        scheme: how numbers become codes.
    """
    grown = network.resized(plan)
    listed = entries(grown, plan, scheme)
    meta = metadata(grown, plan, scheme, {entry.name: CHECKSUM_PLACEHOLDER for entry in listed})
    return header_bytes(listed, meta) + sum(entry.bytes for entry in listed)
