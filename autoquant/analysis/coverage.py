"""Coverage: what of a model a plan chooses bits for, and what is kept in float, and why."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from autoquant.budget import readable
from autoquant.graph.network import Network, UnquantizedTensor
from autoquant.graph.prepare import why_not_replaced
from autoquant.layers.registry import why_no_kind

NAMED = 3
"""How many tensors are named, the largest ones."""
FLOAT_BYTES = 4
"""Bytes of a float32 parameter."""


@dataclass(frozen=True)
class UncoveredTensor:
    """A tensor that belongs to no layer or norm; it is stored as it is.

    Attributes:
        name: in the model's state_dict.
        bytes: of the tensor.
        reason: why it is in no layer, with the class of its module.
    """

    name: str
    bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {readable(self.bytes)} ({self.reason})"


@dataclass(frozen=True)
class Coverage:
    """What of a model a plan chooses bits for.

    Attributes:
        share: of the parameters, those in layers that a plan chooses bits for.
        norm_share: of the parameters, those in norms, which grow with the layers and keep 32 bits.
        norm_bytes: of the norms' parameters.
        uncovered_bytes: of all tensors that belong to no layer or norm.
        largest: the largest of these, at most NAMED.
    """

    share: float
    norm_share: float
    norm_bytes: int
    uncovered_bytes: int
    largest: tuple[UncoveredTensor, ...]

    def __str__(self) -> str:
        """One line."""
        line = f"a plan chooses bits for {_percent(self.share)} of the parameters; kept in float: "
        line += f"norms {readable(self.norm_bytes)}, others {readable(self.uncovered_bytes)}"
        return f"{line}, the largest: {', '.join(map(str, self.largest))}" if self.largest else line


def _percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{math.floor(share * 1000) / 10:.1f}%"


def coverage_of(model: nn.Module, network: Network) -> Coverage:
    """The coverage of a prepared model.

    Args:
        model: as ``prepare`` returns it.
        network: its layers.
    """
    total = max(network.parameters, 1)
    norms = sum(norm.count for norm in network.norms)
    largest = heapq.nlargest(NAMED, network.unquantized, key=_bytes)
    return Coverage(
        share=sum(layer.count for layer in network.layers) / total,
        norm_share=norms / total,
        norm_bytes=norms * FLOAT_BYTES,
        uncovered_bytes=sum(map(_bytes, network.unquantized)),
        largest=tuple(
            UncoveredTensor(tensor.name, _bytes(tensor), why_uncovered(model, tensor.name))
            for tensor in largest
        ),
    )


def _bytes(tensor: UnquantizedTensor) -> int:
    dtype: torch.dtype = getattr(torch, tensor.dtype)
    return math.prod(tensor.shape) * dtype.itemsize


def why_uncovered(model: nn.Module, name: str) -> str:
    """Why a tensor belongs to no layer that autoquant knows, in words.

    Args:
        model: as ``prepare`` returns it.
        name: of the tensor in the model's state_dict.
    """
    path, _, tensor = name.rpartition(".")
    if tensor in model.get_submodule(path)._buffers:
        return f"a buffer of {type(model.get_submodule(path)).__name__}"
    owner, is_parametrized, _ = f".{path}".partition(".parametrizations.")
    return _why_no_layer(model.get_submodule(owner.lstrip(".") if is_parametrized else path))


def _why_no_layer(module: nn.Module) -> str:
    """Why a module that has a parameter is no layer that autoquant knows."""
    cls = parametrize.type_before_parametrizations(module).__name__
    reason = why_no_kind(module) or why_not_replaced(module)
    if reason:
        return f"{cls} {reason}"
    if [*module.children()]:
        return f"a parameter of {cls} itself"
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return f"{cls} is kept in float"
    return f"{cls} is no known layer"
