"""Packed files of version 2, which are still read: safetensors with metadata in JSON.

They hold the sizes of layers that have grown, not how the sizes follow from the plan. So the sizes
can only be checked in part: a layer that grew must have as many units as its plan allows, and there
must be a layer that reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autoquant.artifact import manifest
from autoquant.artifact.header import Header, parse_json
from autoquant.artifact.manifest import COUNTER, DTYPES, Entry
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import Plan
from autoquant.settings import Scheme

VERSION = 2
KEYS = {"version", "plan", "sizes", "scheme", "sha256", "digest"}


def parse(
    text: str, tensors: Mapping[str, Tensor], scheme_of: Callable[[Mapping[str, Any]], Scheme]
) -> Header:
    """The header of a file.

    Args:
        text: its metadata.
        tensors: of the file, by name; their checksums are compared.
        scheme_of: makes the scheme of its fields.

    Raises:
        UserError: the file is altered, or of another version.
        ValueError: the metadata has another form.
    """
    content = parse_json(text)
    if type(content) is not dict or "version" not in content:
        raise ValueError("no version")
    version = content["version"]
    if type(version) is not int or version != VERSION:
        raise UserError(f"must have format version 2 or 3, got {str(version)[:20]}")
    if set(content) != KEYS:
        raise ValueError(f"other keys than {', '.join(sorted(KEYS))}")
    if content.pop("digest") != digest(content):
        raise UserError("must be as it was written, got an altered header")
    _check_tensors(content["sha256"], tensors)
    plan = Plan.from_dict(content["plan"], "its plan")
    return Header(plan, scheme_of(content["scheme"]), _sizes(content["sizes"]))


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal of the metadata's compact JSON.

    Args:
        content: the metadata without the digest itself.
    """
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def checksum(tensor: Tensor) -> str:
    """SHA-256 in hexadecimal of a tensor's bytes.

    Args:
        tensor: on the CPU.
    """
    return hashlib.sha256(tensor.contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()


def _check_tensors(checksums: Any, tensors: Mapping[str, Tensor]) -> None:
    if type(checksums) is not dict or checksums.keys() != tensors.keys():
        raise ValueError("checksums of other tensors than those of the file")
    for name, tensor in tensors.items():
        if checksum(tensor) != checksums[name]:
            raise UserError(f"must be as it was written, got an altered tensor {name}")


def _sizes(values: Any) -> dict[str, tuple[int, int, int, int]]:
    if type(values) is not dict:
        raise ValueError("sizes that are none")
    for sizes in values.values():
        whole = type(sizes) is list and len(sizes) == 4 and all(type(n) is int for n in sizes)
        if not whole or not all(0 < number < 1 << 48 for number in sizes):
            raise ValueError("sizes that are none")
    return {name: tuple(sizes) for name, sizes in values.items()}


def entries(grown: Network, header: Header) -> tuple[Entry, ...]:
    """The tensors of a file; it holds the norms' counters too.

    Args:
        grown: the network at the plan's widths.
        header: of the file.
    """
    counters = {norm.full_name(COUNTER) for norm in grown.norms}
    stored = (
        Entry(tensor.name, DTYPES[tensor.dtype][0], tensor.shape)
        for tensor in grown.unquantized
        if tensor.name in counters
    )
    return (*manifest.entries(grown, header.plan, header.scheme), *stored)


def resized(original: Network, header: Header) -> Network:
    """The network at the sizes that a file holds.

    Args:
        original: of the model that was given.
        header: of the file.

    Raises:
        UserError: the file is of another network, or the sizes do not fit the plan.
    """
    header.plan.check(original.names)
    sizes = header.sizes
    for layer in original.layers_and_norms:
        before = sizes.get(layer.name, (0, 0, layer.units, layer.features))[2:]
        if before != (layer.units, layer.features):
            came = f"{before[1]} -> {before[0]}"
            raise UserError(f"{layer.name} must be {layer.features} -> {layer.units}, got {came}")
    for name in sizes.keys() - {layer.name for layer in original.layers_and_norms}:
        raise UserError(f"it has sizes of a layer {name}")
    grown = original.with_sizes({name: numbers[:2] for name, numbers in sizes.items()})
    for layer in grown.layers:
        _check_units(layer, header.plan[layer.name].width)
    _check_readers(grown)
    return grown


def _check_units(layer: LayerSpec, width: float) -> None:
    """Raise a UserError unless a layer has grown as its plan allows.

    Each of its parts grew by an even number, the one nearest to the width, or not at all; a unit
    may be several entries (a head of attention).
    """
    units, _ = layer.original or (layer.units, layer.features)
    added = layer.units - units
    most = 0 if width == 1.0 else units * width  # each unit may be a part, off by one
    if added % 2 or not 0 <= added <= most:
        raise UserError(f"{layer.name} must have the units of width {width}, got {layer.shape}")


def _check_readers(grown: Network) -> None:
    """Raise a UserError where a layer grew and no other one reads more than before, or the reverse.

    Args:
        grown: the network at the sizes of the file.
    """
    wider = {layer.name for layer in grown.layers if layer.grown}
    readers = {
        layer.name
        for layer in grown.layers
        if layer.original is not None and layer.original[1] != layer.features
    }
    for name in wider:
        if not readers - {name}:
            raise UserError(f"another layer must read the new units of {name}, got none")
    for layer in grown.layers_and_norms:
        before = (layer.original or (0, layer.features))[1]
        reads_more = layer.features != before
        if layer.features < before or (reads_more and not wider):
            raise UserError(f"{layer.name} must read the units of a layer, got {layer.shape}")
