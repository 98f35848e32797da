"""From a model to its network: its layers, which widths depend on each other, what cannot grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.growth_check import with_verified_growth
from autoquant.graph.network import Network, UnquantizedTensor
from autoquant.graph.tracing.layouts import Widths, fixed, widths_of
from autoquant.graph.tracing.propagate import propagate_widths
from autoquant.graph.tracing.record import record
from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.stack import Recurrent

NO_EXAMPLE = "no example inputs were given"


def describe(
    model: nn.Module, inputs: tuple[Any, ...] | None, run: ExampleRun | None = None
) -> Network:
    """Read the network of a prepared model.

    The model is run on its inputs, a few times where growing is checked.

    Args:
        model: as ``prepare`` returns it.
        inputs: positional arguments of one forward pass, on the model's device. With None nothing
            can grow.

    Raises:
        UserError: the model has no layer that autoquant knows.
    """
    layers = layers_of(model)
    if inputs is None:
        return _network(layers, fixed(layers, NO_EXAMPLE), unquantized_of(model, layers), {})
    leaves = {
        name: module
        for name, module in model.named_modules()
        if kind_of(module) is not None or isinstance(module, Recurrent)
    }
    run = run or ExampleRun.of(model, inputs)
    unquantized = unquantized_of(model, layers)
    state = model.state_dict(keep_vars=True)
    tensors = {tensor.name: state[tensor.name] for tensor in unquantized}
    recorded = record(model, run.copies(model), leaves, tensors=tensors)
    propagation = propagate_widths(model, layers, recorded)
    widths = widths_of(propagation, layers)
    network = _network(layers, widths, unquantized, propagation.layers.dropouts)
    return with_verified_growth(model, network, run)


def layers_of(model: nn.Module) -> tuple[LayerSpec, ...]:
    """Every layer and norm of a prepared model that autoquant knows, in the model's order.

    Args:
        model: as ``prepare`` returns it.

    Raises:
        UserError: there is no layer (norms do not count), or a layer kind describes a parameter
            that its module does not have, or with other sizes.
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
    """The layers, with a note where a parameter is also that of an earlier layer."""
    owners: dict[int, str] = {}  # the first full name of each parameter, by its identity
    for layer in layers:
        module, parameters = model.get_submodule(layer.name), []
        for parameter in layer.parameters:
            name = layer.full_name(parameter.name)
            tensor = getattr(module, parameter.name, None)
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else "no such tensor"
            if shape != parameter.shape:
                raise UserError(
                    f"the layer kind {layer.kind!r} must describe {name} as it is ({shape}), "
                    f"got axes of the sizes {parameter.shape}"
                )
            owner = owners.setdefault(id(tensor), name)
            shared = "" if owner == name else owner
            parameters.append(replace(parameter, shared=shared))
        yield replace(layer, parameters=tuple(parameters))


def unquantized_of(model: nn.Module, layers: Sequence[LayerSpec]) -> tuple[UnquantizedTensor, ...]:
    """Tensors of the model's state_dict that belong to none of the layers.

    Args:
        model: as ``prepare`` returns it.
        layers: the layers and norms that autoquant knows.
    """
    in_layers = {layer.full_name(p.name) for layer in layers for p in layer.parameters}
    state = model.state_dict(keep_vars=True)
    listed = {id(state[name]) for name in in_layers if name in state}
    unquantized = []
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or name in in_layers or id(tensor) in listed:
            continue
        listed.add(id(tensor))
        dtype = str(tensor.dtype).removeprefix("torch.")
        unquantized.append(UnquantizedTensor(name, dtype, tuple(tensor.shape)))
    return tuple(unquantized)


def _network(
    layers: Sequence[LayerSpec],
    widths: Widths,
    unquantized: Sequence[UnquantizedTensor],
    dropouts: Mapping[str, float],
) -> Network:
    """The network as a value.

    Args:
        layers: layers and norms.
        widths: groups and layouts.
        unquantized: tensors outside the layers.
        dropouts: see ``Network``.
    """
    with_units = {
        name: layout for name, layout in widths.tables.items() if any(s.group for s in layout)
    }
    return Network(
        tuple(layer for layer in layers if not layer.follows),
        tuple(layer for layer in layers if layer.follows),
        MappingProxyType(widths.inputs),
        MappingProxyType(widths.outputs),
        MappingProxyType(widths.groups),
        MappingProxyType(widths.frozen),
        tuple(replace(tensor, layout=with_units.get(tensor.name, ())) for tensor in unquantized),
        MappingProxyType(dict(dropouts)),
    )
