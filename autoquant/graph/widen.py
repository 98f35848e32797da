"""Growing a model to a plan's widths without changing the function it computes.

Two methods, both tested by running the old and the new model on the same input:

- "split" duplicates units and splits their outgoing weights (Net2Net, Chen et al. 2016). Of two
  replicas one gets w/2 + d and the other w/2 - d, with d a quarter of the scale of the weight that
  reads them: the split of outlier channel splitting (Zhao et al. 2019, section 3.3). On a grid with
  a level at zero the pair rounds to the same sum as the single weight, on one without it is off by
  at most half a scale. d has a random sign for each weight, so that replicas get different
  gradients and diverge. The units with the largest outgoing outliers go first.
- "fresh" adds new random units whose outgoing contribution is zero. They come in pairs with equal
  incoming and opposite outgoing weights of half a scale, so that they cancel also after
  quantization, on grids that have no level at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoquant.copies import copy_model
from autoquant.graph.network import Network
from autoquant.graph.parameter_growth import grow_norm_parameter, grow_parameter, grow_table
from autoquant.graph.unit_sources import (
    Scales,
    Sources,
    choose_sources,
    entry_sources,
    outgoing_scales,
)
from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.embedding import keep_padding
from autoquant.plan import Plan
from autoquant.settings import Scheme


@dataclass(frozen=True)
class WideningRequest:
    """To which widths a model grows, and how.

    Attributes:
        plan: widths of all layers, and the bits that outgoing weights are split for.
        scheme: the quantization that they are split for: its grid and granularity.
        method: "split" or "fresh", see above. Or "even", which splits outgoing weights into equal
            shares, after which replicas stay equal in training: for the growth check, and where
            weights are reinitialized.
        seed: of random signs and fresh weights; torch's global generator is not used.
    """

    plan: Plan
    scheme: Scheme
    method: str
    seed: int


@torch.no_grad()
def widen(
    model: nn.Module, network: Network, request: WideningRequest
) -> tuple[nn.Module, Network]:
    """A copy of a prepared float model at a plan's widths, and its network.

    Args:
        model: as ``prepare`` returns it; it is left as it is.
        network: of the model.
        request: widths and method.

    Raises:
        UserError: the plan does not fit the network.
    """
    grown = network.resized(request.plan)
    if all(request.plan[name].width == 1.0 for name in network.names):
        return copy_model(model), grown
    wider = grow(model, network, grown, request)
    old = {id(tensor) for tensor in _tensors(model)}
    new = {id(tensor): tensor for tensor in _tensors(wider) if id(tensor) not in old}
    return copy_model(wider, new), grown  # new tensors need not be copied


def grow(model: nn.Module, network: Network, grown: Network, request: WideningRequest) -> nn.Module:
    """As ``widen``, but tensors that have not changed are those of the model, not copies.

    Args:
        model: as ``prepare`` returns it.
        network: of the model.
        grown: the network at the widths of the plan.
        request: widths and method.
    """
    model = sharing_copy(model)
    generator = torch.Generator().manual_seed(request.seed)
    scales: dict[str, Mapping[str, Tensor]] = {}
    for layer in network.layers:
        if layer.multiplies and request.method != "even":
            scales[layer.name] = outgoing_scales(model, layer, request.plan, request.scheme)
    sources = choose_sources(model, network, grown, scales, request.method)
    growth = _LayerGrowth(network, sources, scales, generator)
    for old, new in zip(network.layers_and_norms, grown.layers_and_norms, strict=True):
        growth.apply(model, old, new)
    for tensor in network.unquantized:
        if tensor.layout:
            values = get_tensor(model, tensor.name)
            set_tensor(
                model, tensor.name, grow_table(values, entry_sources(tensor.layout, sources))
            )
    return model


@dataclass(frozen=True)
class _LayerGrowth:
    """Growing the layers of a model, one by one.

    Attributes:
        network: before it grows.
        sources: the old unit that each new unit copies.
        scales: of weights that read units.
        generator: of random signs and fresh weights.
    """

    network: Network
    sources: Sources
    scales: Scales
    generator: torch.Generator

    def apply(self, model: nn.Module, old: LayerSpec, new: LayerSpec) -> None:
        """Give a layer its grown parameters, in place.

        Args:
            model: holds the layer at its old sizes; earlier layers have grown.
            old: the layer before.
            new: the layer after.
        """
        module = model.get_submodule(old.name)
        rows = entry_sources(self.network.outputs[old.name], self.sources)
        columns = entry_sources(self.network.inputs.get(old.name, ()), self.sources)
        by_role = {"out": rows, "hidden": rows, "in": columns, "grouped": columns}
        scales = self.scales.get(old.name, {})
        tensors = {}
        for before, after in zip(old.parameters, new.parameters, strict=True):
            if before.shape == after.shape:
                continue
            values, scale = getattr(module, before.name), scales.get(before.name)
            if before.shared:
                tensors[before.name] = get_tensor(model, before.shared)
            elif old.new_units != "copies":
                is_gain = before is old.parameters[0]
                tensors[before.name] = grow_norm_parameter(values, new.units, is_gain=is_gain)
            else:
                tensors[before.name] = grow_parameter(
                    values, before, after.shape, by_role, scale, self.generator
                )
                keep_padding(module, values, tensors[before.name])
        install(module, new, tensors)
        if new.recurrent and new.grown:
            device = next(module.parameters()).device
            unit_sources = rows.old.to(device, source_dtype(new.units))
            module.register_buffer("unit_sources", unit_sources)


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy of a model's modules that holds the same tensors, not copies.

    Args:
        model: any.
    """
    return copy_model(model, {id(tensor): tensor for tensor in _tensors(model)})


def _tensors(model: nn.Module) -> tuple[Tensor, ...]:
    return *model.parameters(), *model.buffers()


def resize(model: nn.Module, grown: Network) -> nn.Module:
    """A copy of a model with parameters of other shapes, whose values are not set.

    Args:
        model: as ``prepare`` returns it.
        grown: the network at the new widths.
    """
    model = copy_model(model)
    for layer in grown.layers_and_norms:
        module = model.get_submodule(layer.name)
        before = {p.name: getattr(module, p.name) for p in layer.parameters}
        changed = {p.name: p.shape for p in layer.parameters if before[p.name].shape != p.shape}
        tensors = {name: before[name].new_empty(shape) for name, shape in changed.items()}
        for parameter in layer.parameters:
            if parameter.shared and parameter.name in tensors:
                tensors[parameter.name] = get_tensor(model, parameter.shared)
        install(module, layer, tensors)
        if layer.recurrent and layer.grown:
            empty = torch.zeros(layer.units, dtype=source_dtype(layer.units))
            module.register_buffer("unit_sources", empty)
    for tensor in grown.unquantized:
        if tensor.original is not None:
            empty = get_tensor(model, tensor.name).new_empty(tensor.shape)
            set_tensor(model, tensor.name, empty)
    return model


def source_dtype(units: int) -> torch.dtype:
    """The type of a recurrent layer's ``unit_sources``: as narrow as its units allow.

    Args:
        units: of the layer, after growing.
    """
    return torch.int16 if units < 1 << 15 else torch.int32


def get_tensor(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer of a model.

    Args:
        model: any.
        name: of the tensor, in the model.
    """
    module, _, attribute = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(module), attribute)
    return tensor


def set_tensor(model: nn.Module, name: str, values: Tensor) -> None:
    """Replace a parameter or buffer of a model by one of another shape.

    Args:
        model: any.
        name: of the tensor, in the model.
        values: a parameter is put in as it is; of others one is made, where it was one.
    """
    path, _, attribute = name.rpartition(".")
    module = model.get_submodule(path)
    old = getattr(module, attribute)
    if isinstance(old, nn.Parameter) and not isinstance(values, nn.Parameter):
        values = nn.Parameter(values, old.requires_grad)
    setattr(module, attribute, values)


def install(module: nn.Module, spec: LayerSpec, tensors: Mapping[str, Tensor]) -> None:
    """Put parameters into a layer, and set its attributes that follow from sizes.

    A parameter that was frozen stays so.

    Args:
        module: the layer.
        spec: the layer at its new sizes.
        tensors: new values of parameters, by name; others stay.
    """
    kind = kind_of(module)
    assert kind is not None
    for name, tensor in tensors.items():
        set_tensor(module, name, tensor)
    for name, size in kind.attributes(spec).items():
        setattr(module, name, size)
