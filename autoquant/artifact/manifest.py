"""Manifest: the tensors that the packed file of a plan holds, and so its size before it exists.

Sizes are not estimated: ``entries`` lists the tensors of the packed file, and ``packed_file.save``
writes exactly these. Scales, biases, norms, uncovered tensors, assets and the header with its
digest are all counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cache, lru_cache
from types import MappingProxyType

import torch

from autoquant.artifact import header
from autoquant.budget import readable
from autoquant.graph.network import Network, UnquantizedTensor
from autoquant.graph.widen import source_dtype
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.layers.folded_norm import FOLDED, can_fold
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.formats import format_of
from autoquant.settings import Scheme
from autoquant.training.activations import quantized_activations

COUNTER = "num_batches_tracked"
"""A buffer of norms that only training reads; it is not stored."""
NO_ASSETS: Mapping[str, int] = MappingProxyType({})

# names of torch types, and safetensors' names and bytes of them, in the reverse order of the file:
# larger ones come first there, so that each tensor begins at a multiple of its type's bytes
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
TORCH_TYPES = {short: getattr(torch, name) for name, (short, _) in DTYPES.items()}
"""Torch's types by safetensors' names of them."""
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
        *uncovered_entries(network),
        *_all_layer_entries(network, plan, scheme),
        *(entry for norm in network.norms for entry in norm_entries(norm, scheme)),
    ]
    return tuple(sorted(listed, key=lambda entry: (-_RANKS[entry.dtype], entry.name)))


def uncovered(network: Network) -> tuple[UnquantizedTensor, ...]:
    """Tensors of the model that belong to no layer and are stored: all but the norms' counters.

    Args:
        network: at any widths.
    """
    counters = {norm.full_name(COUNTER) for norm in network.norms}
    return tuple(tensor for tensor in network.unquantized if tensor.name not in counters)


def uncovered_entries(network: Network) -> list[Entry]:
    """The entries of tensors that belong to no layer.

    Args:
        network: at any widths.
    """
    return [Entry(t.name, DTYPES[t.dtype][0], t.shape) for t in uncovered(network)]


def _all_layer_entries(network: Network, plan: Plan, scheme: Scheme) -> list[Entry]:
    """The tensors of all layers.

    Args:
        network: as in ``entries``.
        plan: as there.
        scheme: as there.
    """
    return [
        entry
        for layer in network.layers
        for entry in _layer_entries(layer, plan[layer.name], scheme)
    ]


def norm_entries(norm: LayerSpec, scheme: Scheme) -> list[Entry]:
    """The tensors of a norm: its own in float32, or a scale and a shift in half precision.

    Args:
        norm: at the plan's width.
        scheme: tells which.
    """
    if is_folded(norm, scheme):
        return [Entry(norm.full_name(name), "F16", (norm.units,)) for name in FOLDED]
    return [Entry(norm.full_name(p.name), "F32", p.shape) for p in norm.parameters]


def is_folded(norm: LayerSpec, scheme: Scheme) -> bool:
    """Whether a norm is stored as scale and shift.

    Args:
        norm: of any kind.
        scheme: of the file.
    """
    return scheme.norms == "half" and can_fold(norm)


def norms_with_eps(network: Network, scheme: Scheme) -> tuple[LayerSpec, ...]:
    """The layers and norms whose eps is stored: it is part of the scale of a folded norm.

    Args:
        network: at any widths.
        scheme: of the file.
    """
    return tuple(
        layer
        for layer in network.layers_and_norms
        if layer.eps is not None and not is_folded(layer, scheme)
    )


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


@dataclass(frozen=True)
class SizeBreakdown:
    """What the bytes of a packed file are.

    Attributes:
        header: network, plan, scheme and digest.
        layers: codes, scales and biases of the layers that a plan chooses bits for.
        norms: of norms.
        uncovered: of tensors that belong to no layer, and stay as they are.
        assets: of assets of the task.
    """

    header: int
    layers: int
    norms: int
    uncovered: int
    assets: int

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(astuple(self))

    def __str__(self) -> str:
        return (
            f"{readable(self.layers)} layers, {readable(self.norms)} norms, "
            f"{readable(self.uncovered)} uncovered tensors, {readable(self.assets)} assets, "
            f"{readable(self.header)} header"
        )


def breakdown(
    network: Network, plan: Plan, scheme: Scheme, assets: Mapping[str, int] = NO_ASSETS
) -> SizeBreakdown:
    """What the bytes of a plan's packed file will be, before it is trained or even built.

    Args:
        network: the original network; the plan's widths are applied here.
        plan: bits and widths of its layers.
        scheme: how numbers become codes.
        assets: bytes of each asset that is stored in the file, by name.
    """
    grown = network.resized(plan)
    return SizeBreakdown(
        _header_bytes(_ByIdentity(network), scheme, tuple(assets.items())),
        sum(layer_bytes(layer, plan[layer.name], scheme) for layer in grown.layers),
        _norm_bytes(grown, scheme),
        sum(entry.bytes for entry in uncovered_entries(grown)),
        sum(assets.values()),
    )


@cache
def layer_bytes(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Bytes of one layer's tensors.

    Args:
        layer: at the plan's width.
        choice: the plan's choice for it.
        scheme: how numbers become codes.
    """
    return sum(entry.bytes for entry in _layer_entries(layer, choice, scheme))


def bytes_outside_layers(network: Network, resized: Network, scheme: Scheme) -> int:
    """Bytes of header, norms and uncovered tensors; no bits of a plan change them.

    Args:
        network: the original network.
        resized: the same at the plan's widths.
        scheme: how numbers become codes.
    """
    uncovered_bytes = sum(entry.bytes for entry in uncovered_entries(resized))
    header_bytes = _header_bytes(_ByIdentity(network), scheme, ())
    return header_bytes + _norm_bytes(resized, scheme) + uncovered_bytes


def _norm_bytes(resized: Network, scheme: Scheme) -> int:
    """Bytes of all norms of a network at a plan's widths."""
    return sum(entry.bytes for norm in resized.norms for entry in norm_entries(norm, scheme))


def size_bytes(
    network: Network, plan: Plan, scheme: Scheme, assets: Mapping[str, int] = NO_ASSETS
) -> int:
    """Bytes of the packed file of a plan: all of it counts in a budget, header and assets too.

    Args:
        network: the original network; the plan's widths are applied here.
        plan: bits and widths of its layers.
        scheme: how numbers become codes.
        assets: bytes of each asset that is stored in the file, by name.
    """
    return breakdown(network, plan, scheme, assets).total


class _ByIdentity:
    """A network as a key; a search counts the plans of one network object thousands of times."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.network is other.network

    def __hash__(self) -> int:
        return id(self.network)


@lru_cache(maxsize=16)
def _header_bytes(network: _ByIdentity, scheme: Scheme, assets: tuple[tuple[str, int], ...]) -> int:
    """Bytes of the header of any plan.

    Args:
        network: the original network.
        scheme: how numbers become codes.
        assets: name and bytes of each.
    """
    content = header.ModelText(network.network, scheme, dict(assets))
    layers, eps = len(network.network.layers), len(norms_with_eps(network.network, scheme))
    return header.length_of(header.encode_model(content), layers, eps)
