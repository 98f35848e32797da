"""From a packed file's tensors to a model that runs, on packed codes where a layer can."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.plan import TERNARY, Bits, LayerChoice
from autoquant.quantization.bitpacking import packed_bytes, unpack
from autoquant.quantization.codes import Grid, decode
from autoquant.quantization.fake_quantize import ActivationQuantizer, restore_scale
from autoquant.runtime import (
    PackedEmbedding,
    PackedLinear,
    PackedRecurrent,
    PackedRecurrentLayer,
    PackedWeight,
)
from autoquant.settings import Scheme
from autoquant.training.qat import activation_quantizers, attach

CHUNK = 5 << 15  # codes at a time: a multiple of 8 and of 5, so that chunks end on whole bytes

Held = dict[str, Any]  # a layer's parameters by name: PackedWeight or Tensor
Quantizers = dict[str, ActivationQuantizer]


def assemble(
    model: nn.Module,
    layer: LayerSpec,
    choice: LayerChoice,
    scheme: Scheme,
    tensors: Mapping[str, Tensor],
) -> nn.Module:
    """Give one layer of a model what was stored of it; returns the model.

    Args:
        model: at the plan's widths; changed in place unless it is the layer itself.
        tensors: of the whole file.
    """
    module = model.get_submodule(layer.name)
    quantizers = activation_quantizers(layer, choice, scheme)
    for name, quantizer in quantizers.items():
        stored = tensors.get(layer.full_name(name))
        if stored is not None:
            log_scale, low = stored.tolist()
            quantizer.restore(log_scale, int(low))
    build = _builder(module, choice)
    if build is None:
        _fill(module, layer, choice, scheme, tensors)
        attach(module, quantizers)
        return model
    held: Held = {}
    for parameter in layer.parameters:
        bits = scheme.bits_of(parameter.role, choice)
        held[parameter.name] = _held(tensors, _stored_as(layer, parameter), parameter, bits, scheme)
    like = next(module.parameters())
    packed = build(module, held, quantizers)
    if layer.recurrent and layer.grown:
        packed.register_buffer("unit_sources", tensors[layer.full_name("unit_sources")].clone())
    return _replaced(model, layer.name, packed.to(home_of(like), like.dtype))


def _builder(
    module: nn.Module, choice: LayerChoice
) -> Callable[[Any, Held, Quantizers], nn.Module] | None:
    """What makes the packed layer that stands in for a module, if there is one.

    A module that computes something else (a subclass, a hook) stays as it is.
    """
    if type(module) is RecurrentLayer:
        return _recurrent
    if choice.weight_bits > 8 or module._forward_hooks or module._forward_pre_hooks:
        return None
    if type(module) in (nn.Linear, IntegerLinear):
        return _linear
    return _embedding if type(module) is nn.Embedding else None


def _recurrent(module: RecurrentLayer, held: Held, quantizers: Quantizers) -> nn.Module:
    names = ("input_quantizer", "hidden_quantizer")
    return PackedRecurrentLayer(module, held, *(quantizers.get(name) for name in names))


def _linear(module: nn.Linear, held: Held, quantizers: Quantizers) -> nn.Module:
    return PackedLinear(held["weight"], held.get("bias"), quantizers.get("input_quantizer"))


def _embedding(module: nn.Embedding, held: Held, quantizers: Quantizers) -> nn.Module:
    return PackedEmbedding(module, held["weight"])


def _replaced(model: nn.Module, name: str, packed: nn.Module) -> nn.Module:
    packed.requires_grad_(False).eval()
    if not name:
        return packed
    old = model.get_submodule(name)
    for parent in [*model.modules()]:
        for own, child in [*parent._modules.items()]:
            if child is old:  # it may be there under several names
                setattr(parent, own, packed)
                if type(parent) is Recurrent:
                    PackedRecurrent.adopt(parent)
    return model


def _held(
    tensors: Mapping[str, Tensor], name: str, parameter: ParameterSpec, bits: Bits, scheme: Scheme
) -> PackedWeight | Tensor:
    """A parameter as it is held in memory: packed where it has rows of codes.

    Codes of 1.6 bits take 2 there: kernels shift and mask, they do not divide by three.
    """
    if bits > 8 or len(parameter.shape) != 2:
        return values_of(tensors, name, bits, parameter.shape, scheme)
    codes, scale, grid = _codes(tensors, name, bits, parameter.shape, scheme)
    held = 2 if bits == TERNARY else int(bits)
    rows, columns = parameter.axes
    if columns.role == "out":  # a table, whose rows are looked up
        return PackedWeight(codes, scale, grid, held, gates=None)
    gates = rows.copies if columns.role == "hidden" else 1
    return PackedWeight(codes, scale, grid, held, gates=gates)


def _fill(
    module: nn.Module,
    layer: LayerSpec,
    choice: LayerChoice,
    scheme: Scheme,
    tensors: Mapping[str, Tensor],
) -> None:
    """Decode a layer that has no packed form into its own parameters."""
    for parameter in layer.parameters:
        bits = scheme.bits_of(parameter.role, choice)
        name = _stored_as(layer, parameter)
        values = values_of(tensors, name, bits, parameter.shape, scheme)
        like = getattr(module, parameter.name)
        setattr(module, parameter.name, nn.Parameter(values.to(home_of(like), like.dtype)))


def _stored_as(layer: LayerSpec, parameter: ParameterSpec) -> str:
    """The name of a parameter's tensors in the file."""
    return parameter.shared or layer.full_name(parameter.name)


def home_of(tensor: Tensor) -> torch.device:
    """Where values for a tensor belong: on its device, or on the CPU where that is meta."""
    return torch.device("cpu") if tensor.is_meta else tensor.device


def _room(count: int) -> NDArray[np.int8]:
    """Memory that goes back to the system as soon as it is free: malloc would keep some of it."""
    return np.frombuffer(mmap(-1, max(1, count)), np.int8)[:count]


def values_of(
    tensors: Mapping[str, Tensor], name: str, bits: Bits, shape: tuple[int, ...], scheme: Scheme
) -> Tensor:
    """A parameter's float values: decoded codes, or what was stored."""
    if bits > 8:  # a copy: the tensor may be the file itself, mapped into memory
        return tensors[name].to(torch.float32, copy=True)
    codes, scale, grid = _codes(tensors, name, bits, shape, scheme)
    return decode(codes.float(), scale, grid)


def _codes(
    tensors: Mapping[str, Tensor], name: str, bits: Bits, shape: tuple[int, ...], scheme: Scheme
) -> tuple[Tensor, Tensor, Grid]:
    """Codes [shape] as int8, step sizes that broadcast against them, and the grid."""
    grid, count = Grid.signed(bits, scheme.grid), math.prod(shape)
    packed, codes = tensors[f"{name}.codes"].numpy(), _room(count)
    for first in range(0, count, CHUNK):
        some = min(CHUNK, count - first)
        start = packed_bytes(first, bits)
        unsigned = unpack(packed[start : start + packed_bytes(some, bits)], bits, some)
        np.subtract(unsigned, np.uint8(-grid.qmin), out=codes[first : first + some].view(np.uint8))
    scale = restore_scale(tensors[f"{name}.scale"])
    scale = scale.view(-1, *[1] * (len(shape) - 1))
    return torch.from_numpy(codes).view(shape), scale, grid
