"""From a model to its network: what its layers are, which widths are tied, what cannot grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.growth_check import with_verified_growth
from autoquant.graph.network import Network, UnquantizedTensor
from autoquant.graph.tracing.layouts import Widths, fixed, widths_of
from autoquant.graph.tracing.propagate import follow
from autoquant.graph.tracing.record import record
from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.stack import Recurrent

NO_EXAMPLE = "no example inputs were given"


def layers_of(model: nn.Module) -> tuple[LayerSpec, ...]:
    """Every layer and norm of a prepared model that autoquant knows, in the model's order.

    Raises:
        UserError: there is none.
    """
    layers = [
        kind.describe(name, module)
        for name, module in model.named_modules()
        if (kind := kind_of(module)) is not None
    ]
    if not any(not layer.follows for layer in layers):
        raise UserError("a model must have at least one layer that autoquant knows, got none")
    return tuple(_with_shared(model, layers))


def _with_shared(model: nn.Module, layers: Sequence[LayerSpec]) -> Iterator[LayerSpec]:
    """The layers, with a note where a parameter belongs to an earlier one too."""
    first: dict[int, str] = {}
    for layer in layers:
        module, parameters = model.get_submodule(layer.name), []
        for parameter in layer.parameters:
            name = layer.full_name(parameter.name)
            owner = first.setdefault(id(getattr(module, parameter.name)), name)
            shared = "" if owner == name else owner
            parameters.append(replace(parameter, shared=shared))
        yield replace(layer, parameters=tuple(parameters))


def unquantized_of(model: nn.Module, layers: Sequence[LayerSpec]) -> tuple[UnquantizedTensor, ...]:
    """Tensors of the model's state_dict that belong to no layer."""
    owned = {layer.full_name(p.name) for layer in layers for p in layer.parameters}
    state = model.state_dict(keep_vars=True)
    seen = {id(state[name]) for name in owned if name in state}
    unquantized = []
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or name in owned or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        dtype = str(tensor.dtype).removeprefix("torch.")
        unquantized.append(UnquantizedTensor(name, dtype, tuple(tensor.shape)))
    return tuple(unquantized)


def describe(model: nn.Module, inputs: tuple[Any, ...] | None) -> Network:
    """Read the network of a prepared model.

    Args:
        inputs: of one forward pass, on the model's device. Without them nothing can grow.

    Raises:
        UserError: the model has no layer that autoquant knows.
    """
    layers = layers_of(model)
    if inputs is None:
        return _network(model, layers, fixed(layers, NO_EXAMPLE), {})
    leaves = {
        name: module
        for name, module in model.named_modules()
        if kind_of(module) is not None or isinstance(module, Recurrent)
    }
    walk = follow(model, layers, record(model, inputs, leaves))
    network = _network(model, layers, widths_of(walk, layers), walk.dropouts)
    return with_verified_growth(model, network, inputs)


def _network(
    model: nn.Module, layers: Sequence[LayerSpec], widths: Widths, dropouts: dict[str, float]
) -> Network:
    return Network(
        tuple(layer for layer in layers if not layer.follows),
        tuple(layer for layer in layers if layer.follows),
        MappingProxyType(widths.inputs),
        MappingProxyType(widths.outputs),
        MappingProxyType(widths.groups),
        MappingProxyType(widths.frozen),
        unquantized_of(model, layers),
        MappingProxyType(dropouts),
    )
