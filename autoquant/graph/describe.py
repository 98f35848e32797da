"""From a model to its network: its layers, which widths depend on each other, what cannot grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.equivalence import ExampleRun, has_forward
from autoquant.graph.growth_check import with_verified_growth
from autoquant.graph.network import Network, UnquantizedTensor
from autoquant.graph.tracing.layouts import Widths, fixed, widths_of
from autoquant.graph.tracing.propagate import propagate_widths
from autoquant.graph.tracing.record import record
from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.stack import Recurrent

NO_EXAMPLE = "no example inputs were given"
NO_FORWARD = "the model has no forward to run on the example"


def describe(
    model: nn.Module,
    inputs: tuple[Any, ...] | None,
    keywords: Mapping[str, Any] | None = None,
    run: ExampleRun | None = None,
) -> Network:
    """Read the network of a prepared model.

    The model is run on its inputs, a few times where growing is checked.

    Args:
        model: as ``prepare`` returns it.
        inputs: positional arguments of one forward pass, on the model's device. With None nothing
            can grow; nor if the model has no forward.
        keywords: arguments by name of the forward pass.
        run: of the same example, by which growing is checked; made of the inputs where None.

    Raises:
        UserError: the model has no layer that autoquant knows.
    """
    layers = layers_of(model)
    unquantized = unquantized_of(model, layers)
    if inputs is None or not has_forward(model):
        reason = NO_EXAMPLE if inputs is None else NO_FORWARD
        return _network(layers, fixed(layers, reason), unquantized, {})
    leaves = {
        name: module
        for name, module in model.named_modules()
        if kind_of(module) is not None or isinstance(module, Recurrent)
    }
    run = run or ExampleRun.of(model, inputs, keywords)
    state = model.state_dict(keep_vars=True)
    tensors = {tensor.name: state[tensor.name] for tensor in unquantized}
    inputs, keywords = run.copies(model)
    recorded = record(model, inputs, leaves, keywords, tensors=tensors)
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

    A weight of a layer that another module has too, which is no layer, is among them: that module
    reads the float values.

    Args:
        model: as ``prepare`` returns it.
        layers: the layers and norms that autoquant knows.
    """
    in_layers = {  # by the module itself, which may have several names
        (id(model.get_submodule(layer.name)), parameter.name)
        for layer in layers
        for parameter in layer.parameters
    }
    listed: set[int] = set()
    unquantized = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        owner, _, attribute = name.rpartition(".")
        known = (id(model.get_submodule(owner)), attribute) in in_layers
        if not isinstance(tensor, Tensor) or known or id(tensor) in listed:
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
