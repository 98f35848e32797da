"""Growing a model to a plan's widths without changing the function it computes.

Two ways, both tried by running the old and the new model on the same input:

- "split" duplicates units and splits their outgoing weights (Net2Net, Chen et al. 2016). Of two
  replicas one gets w/2 + d and the other w/2 - d, with d a quarter of the consumer's quantization
  step: the split of outlier channel splitting (Zhao et al. 2019, section 3.3). On a grid with a
  level at zero the pair rounds to the same sum as the single weight, on one without it is off by
  at most half a step. d has a random sign for each weight, so that replicas see different
  gradients and diverge. The units with the largest outgoing outliers go first.
- "fresh" adds new random units whose outgoing contribution is zero. They come in pairs with equal
  incoming and opposite outgoing weights of half a step, so that they cancel also after
  quantization, on grids that have no level at zero.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.coding import Grid
from autoquant.errors import RunError
from autoquant.layers import Axis, LayerSpec, ParameterSpec, kind_of
from autoquant.network import Network
from autoquant.plan import Plan
from autoquant.quantizer import mse_scale
from autoquant.settings import Scheme

FRESH = -1
COARSEST = 4  # bits; finer grids would split so evenly that replicas stay alike

Sources = Mapping[str, Tensor]
"""For each layer, the old unit that each new unit comes from (FRESH: none); shape [units]."""


@torch.no_grad()
def widen(
    model: nn.Module, network: Network, plan: Plan, scheme: Scheme, method: str, seed: int
) -> tuple[nn.Module, Network]:
    """A copy of a prepared float model at a plan's widths, and its network.

    Args:
        plan: widths, and the bits that the split is made for.
        seed: of signs and of fresh weights.

    Raises:
        UserError: the plan does not fit the network.
    """
    grown = network.resized(plan)
    model = copy.deepcopy(model)
    if all(plan[name].width == 1.0 for name in network.names):
        return model, grown
    generator = torch.Generator().manual_seed(seed)
    steps = {layer.name: _steps(model, layer, plan, scheme) for layer in network.layers}
    sources = _choose_sources(model, network, grown, steps, method)
    for old, new in zip(network.layers, grown.layers, strict=True):
        module = model.get_submodule(old.name)
        columns = _column_sources(network, old, sources)
        tensors = {
            parameter.name: _grow_parameter(
                getattr(module, parameter.name),
                parameter,
                {"out": sources[old.name], "hidden": sources[old.name], "in": columns},
                steps[old.name].get(parameter.name),
                generator,
            )
            for parameter in old.parameters
        }
        install(module, new, tensors)
        if new.recurrent and new.grown:
            device = next(module.parameters()).device
            own = sources[old.name].to(device, source_dtype(new.units))
            module.register_buffer("unit_sources", own)
    return model, grown


def resize(model: nn.Module, grown: Network) -> nn.Module:
    """A copy of a prepared model with the parameters of ``grown``'s shapes, values unset."""
    model = copy.deepcopy(model)
    for new in grown.layers:
        module = model.get_submodule(new.name)
        like = next(module.parameters())
        install(module, new, {p.name: like.new_empty(p.shape) for p in new.parameters})
        if new.recurrent and new.grown:
            empty = torch.zeros(new.units, dtype=source_dtype(new.units))
            module.register_buffer("unit_sources", empty)
    return model


def source_dtype(units: int) -> torch.dtype:
    """The type of a layer's unit_sources: as narrow as its units allow."""
    return torch.int16 if units < 1 << 15 else torch.int32


def install(module: nn.Module, spec: LayerSpec, tensors: Mapping[str, Tensor]) -> None:
    """Put parameters into a module and set its sizes to the spec's."""
    kind = kind_of(module)
    assert kind is not None
    for name, tensor in tensors.items():
        setattr(module, name, nn.Parameter(tensor))
    for name, size in kind.attributes(spec).items():
        setattr(module, name, size)


def check_same_function(old: nn.Module, new: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Largest absolute difference of two models' first outputs on the same input, in eval mode.

    Raises:
        RunError: the difference is above 1e-3 of the largest output (float32 rounding of a
            recurrence stays two orders below).
    """
    first, second = _output(old, inputs), _output(new, inputs)
    difference = float((first - second).abs().max())
    limit = 1e-3 * max(1.0, float(first.abs().max()))
    if not difference <= limit:
        raise RunError(f"a widened model must compute the same, got a difference of {difference}")
    return difference


@torch.no_grad()
def _output(model: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    training = model.training
    device = next(model.parameters()).device
    moved = [value.to(device) if isinstance(value, Tensor) else value for value in inputs]
    output = model.eval()(*moved)
    model.train(training)
    while not isinstance(output, Tensor):
        output = output[0]
    return output


# --- which units ---------------------------------------------------------------------------------


def _steps(model: nn.Module, layer: LayerSpec, plan: Plan, scheme: Scheme) -> dict[str, Tensor]:
    """The quantization step of each weight that reads units, shape [rows, 1]."""
    module, choice = model.get_submodule(layer.name), plan[layer.name]
    steps = {}
    for parameter in layer.parameters:
        if any(axis.role in ("in", "hidden") for axis in parameter.axes):
            bits = min(choice.bits_of(parameter.role), COARSEST)
            grid = Grid.signed(bits, scheme.grid)
            per_channel = scheme.granularity == "channel"
            weight = getattr(module, parameter.name).detach()
            steps[parameter.name] = mse_scale(weight, grid, per_channel=per_channel)
    return steps


def _choose_sources(
    model: nn.Module,
    network: Network,
    grown: Network,
    steps: Mapping[str, Mapping[str, Tensor]],
    method: str,
) -> dict[str, Tensor]:
    sources: dict[str, Tensor] = {}
    sizes = {layer.name: layer.units for layer in grown.layers}
    for layer in network.layers:
        first = network.groups[layer.name]
        if first in sources:  # tied layers duplicate the same units
            sources[layer.name] = sources[first]
            continue
        added = sizes[layer.name] - layer.units
        kept = torch.arange(layer.units)
        if method == "fresh":
            extra = torch.full((added,), FRESH)
        else:
            order = _outliers(model, network, first, steps).argsort(descending=True, stable=True)
            extra = order.repeat(added // layer.units + 1)[:added].cpu()
        sources[layer.name] = torch.cat([kept, extra])
    return sources


def _outliers(
    model: nn.Module,
    network: Network,
    group: str,
    steps: Mapping[str, Mapping[str, Tensor]],
) -> Tensor:
    """For each unit of a group its largest outgoing weight, in steps, summed over consumers."""
    members = [name for name in network.names if network.groups[name] == group]
    units = next(layer.units for layer in network.layers if layer.name == group)
    total = torch.zeros(units)
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        for parameter in layer.parameters:
            if parameter.name not in steps[layer.name]:
                continue
            weight = getattr(module, parameter.name).detach() / steps[layer.name][parameter.name]
            largest = weight.abs().transpose(0, 1).flatten(1).amax(1).cpu()  # [columns]
            role = parameter.axes[1].role
            blocks = _blocks_read(network, layer, role, members)
            for start in blocks:
                total += largest[start : start + units]
    return total


def _blocks_read(network: Network, layer: LayerSpec, role: str, members: list[str]) -> list[int]:
    """Where in the columns of a weight the units of some layers stand."""
    if role == "hidden":
        return [0] if layer.name in members else []
    starts, position = [], 0
    for segment in network.inputs[layer.name]:
        if segment.group in members:
            starts.append(position)
        position += segment.size
    return starts


# --- growing one parameter ------------------------------------------------------------------------


def _column_sources(network: Network, layer: LayerSpec, sources: Sources) -> Tensor:
    """For each new input feature of a layer the old one that it comes from (FRESH: none)."""
    parts, position = [], 0
    for segment in network.inputs[layer.name]:
        if segment.group is None:
            local = torch.arange(segment.size)
        else:
            local = sources[segment.group]
        parts.append(torch.where(local == FRESH, FRESH, local + position))
        position += segment.size
    return torch.cat(parts) if parts else torch.arange(layer.features)


def _grow_parameter(
    old: Tensor,
    spec: ParameterSpec,
    sources: Mapping[str, Tensor],
    step: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Columns first, then rows: replicas of a row share its split columns, and so its value."""
    tensor = old.detach()
    for dim in reversed(range(len(spec.axes))):
        axis = spec.axes[dim]
        if axis.role == "fixed":
            continue
        chosen = sources[axis.role].to(tensor.device)
        if len(chosen) * axis.copies == axis.size:
            continue
        if axis.role == "out":
            tensor = _grow_rows(tensor, dim, axis, chosen, generator)
        else:
            assert step is not None
            tensor = _split_columns(tensor, chosen, step, generator)
    return tensor.clone()


def _grow_rows(
    tensor: Tensor, dim: int, axis: Axis, sources: Tensor, generator: torch.Generator
) -> Tensor:
    """Copy the rows of duplicated units; draw those of fresh ones, the same for both of a pair."""
    blocks = []
    for block in tensor.chunk(axis.copies, dim):
        rows = block.index_select(dim, sources.clamp_min(0))
        fresh = int((sources == FRESH).sum())
        if fresh:
            rows.narrow(dim, len(sources) - fresh, fresh).copy_(
                _fresh_rows(block, dim, fresh, generator)
            )
        blocks.append(rows)
    return torch.cat(blocks, dim)


def _fresh_rows(block: Tensor, dim: int, count: int, generator: torch.Generator) -> Tensor:
    """Random rows with the mean and spread of the block's, in equal pairs."""
    shape = list(block.shape)
    shape[dim] = count // 2
    noise = torch.randn(shape, generator=generator).to(block)
    rows = block.mean() + block.std(correction=0) * noise
    return rows.repeat_interleave(2, dim)


def _split_columns(
    tensor: Tensor, sources: Tensor, step: Tensor, generator: torch.Generator
) -> Tensor:
    """Divide each old column among its replicas, unevenly; give fresh columns opposite pairs."""
    known = sources.clamp_min(0)
    replicas = torch.bincount(sources[sources != FRESH], minlength=tensor.shape[1])
    shares = replicas.clamp_min(1)[known].view(-1, *[1] * (tensor.ndim - 2))
    result = tensor.index_select(1, known) / shares
    result[:, sources == FRESH] = 0.0
    for first, second in _pairs(sources):
        share = 0.5 if int(sources[first]) == FRESH else 0.25
        shape = (len(tensor), *tensor.shape[2:])  # one column, with the axes behind it
        signs = torch.randint(0, 2, shape, generator=generator).to(tensor) * 2 - 1
        offset = share * step[:, 0] * signs
        result[:, first] += offset
        result[:, second] -= offset
    return result


def _pairs(sources: Tensor) -> list[tuple[int, int]]:
    """Disjoint pairs of columns with one source; a replica left over keeps its even share."""
    waiting: dict[int, int] = {}
    pairs = []
    for position, source in enumerate(sources.tolist()):
        if source in waiting:
            pairs.append((waiting.pop(source), position))
        else:
            waiting[source] = position
    return pairs
