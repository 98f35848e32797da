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
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.errors import RunError
from autoquant.graph.network import Layout, Network
from autoquant.graph.tracing.record import tensors_in
from autoquant.layers import Axis, LayerSpec, ParameterSpec, kind_of
from autoquant.layers.spec import Role
from autoquant.plan import Plan
from autoquant.quantization.codes import Grid
from autoquant.quantization.scale_rules import mse_scale
from autoquant.settings import Scheme

FRESH = -1
COPIED = ("out", "apart")  # axes whose entries are copied; those of the others are split
COARSEST = 4  # bits; finer grids would split so evenly that replicas stay alike

Sources = Mapping[tuple[str, int], Tensor]
"""For each part of a group, the old unit that each new unit comes from (FRESH: none); [units]."""


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
    if all(plan[name].width == 1.0 for name in network.names):
        return copy.deepcopy(model), grown
    wider = grow(model, network, grown, plan, scheme, method, seed)
    own = {id(tensor) for tensor in _tensors(model)}
    made = {id(tensor): tensor for tensor in _tensors(wider) if id(tensor) not in own}
    return copy.deepcopy(wider, made), grown  # what was made need not be copied


def grow(
    model: nn.Module,
    network: Network,
    grown: Network,
    plan: Plan,
    scheme: Scheme,
    method: str,
    seed: int,
) -> nn.Module:
    """The same, but what has not changed is the very same tensors as the model's.

    Args:
        method: also "even", which splits outgoing weights into equal shares.
    """
    model = sharing_copy(model)
    generator = torch.Generator().manual_seed(seed)
    steps = {
        layer.name: {} if method == "even" else _steps(model, layer, plan, scheme)
        for layer in network.layers
        if layer.multiplies
    }
    sources = _choose_sources(model, network, grown, steps, method)
    for old, new in zip(network.known, grown.known, strict=True):
        module = model.get_submodule(old.name)
        rows = _entry_sources(network.outputs[old.name], sources)
        columns = _entry_sources(network.inputs.get(old.name, ()), sources)
        own = {"out": rows, "hidden": rows, "in": columns, "apart": columns}
        own_steps = steps.get(old.name, {})
        tensors = {
            p.name: _grow_parameter(
                getattr(module, p.name), p, changed.shape, own, own_steps.get(p.name), generator
            )
            for p, changed in zip(old.parameters, new.parameters, strict=True)
            if p.shape != changed.shape
        }
        install(module, new, tensors)
        if new.recurrent and new.grown:
            device = next(module.parameters()).device
            own_units = rows.clamp_min(FRESH).to(device, source_dtype(new.units))
            module.register_buffer("unit_sources", own_units)
    return model


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy of a model's modules that has the very same tensors in them."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})


def _tensors(model: nn.Module) -> tuple[Tensor, ...]:
    return *model.parameters(), *model.buffers()


def resize(model: nn.Module, grown: Network) -> nn.Module:
    """A copy of a prepared model with the parameters of ``grown``'s shapes, values unset."""
    model = copy.deepcopy(model)
    for new in grown.known:
        module = model.get_submodule(new.name)
        held = {p.name: getattr(module, p.name) for p in new.parameters}
        changed = {p.name: p.shape for p in new.parameters if held[p.name].shape != p.shape}
        install(module, new, {name: held[name].new_empty(s) for name, s in changed.items()})
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
        parameter = isinstance(getattr(module, name), nn.Parameter)
        setattr(module, name, nn.Parameter(tensor) if parameter else tensor)
    for name, size in kind.attributes(spec).items():
        setattr(module, name, size)


def check_same_function(old: nn.Module, new: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Largest absolute difference of two models' outputs on the same input, in eval mode.

    Raises:
        RunError: see check_same_outputs.
    """
    return check_same_outputs(outputs_of(old, inputs), outputs_of(new, inputs))


def check_same_outputs(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest absolute difference of two models' outputs.

    Outputs of another shape than before are recurrent states, which grow with their layers; the
    first output must keep its shape.

    Raises:
        RunError: the difference is above 1e-3 of the largest output (float32 rounding of a
            recurrence stays two orders below).
    """
    if len(before) != len(after) or before[0].shape != after[0].shape:
        raise RunError("a widened model must have the same outputs, got others")
    pairs = zip(before, after, strict=True)
    same = [(a, b) for a, b in pairs if a.shape == b.shape and a.is_floating_point()]
    return max((_difference(first, second) for first, second in same), default=0.0)


def _difference(first: Tensor, second: Tensor) -> float:
    if first.is_meta:
        return 0.0
    known = first.isfinite() & second.isfinite()
    if not torch.equal(first[~known].nan_to_num(), second[~known].nan_to_num()):
        raise RunError("a widened model must compute the same, got NaN or infinity elsewhere")
    if not known.any():
        return 0.0
    difference = float((first - second)[known].abs().max())
    if not difference <= 1e-3 * float(first[known].abs().max()):
        raise RunError(f"a widened model must compute the same, got a difference of {difference}")
    return difference


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """All tensors that a model gives for inputs, which are moved to it, in eval mode."""
    training = model.training
    device = next(model.parameters()).device
    moved = pytree.tree_map_only(Tensor, lambda value: value.to(device), inputs)
    output = model.eval()(*moved)
    model.train(training)
    return tensors_in(output)


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
) -> Sources:
    """For every part of a group the units that its new ones come from."""
    sizes = {}
    for name, layout in network.outputs.items():
        for old, new in zip(layout, grown.outputs[name], strict=True):
            if old.group is not None:
                sizes[old.group, old.part] = old.size, new.size
    sources: dict[tuple[str, int], Tensor] = {}
    for part, (old_size, new_size) in sizes.items():
        added, kept = new_size - old_size, torch.arange(old_size, device="cpu")
        if method == "even":
            extra = torch.arange(added, device="cpu") % old_size
        elif method == "fresh":
            extra = torch.full((added,), FRESH, device="cpu")
        else:
            order = _outliers(model, network, part, old_size, steps)
            order = order.argsort(descending=True, stable=True)
            extra = order.repeat(added // old_size + 1)[:added].cpu()
        sources[part] = torch.cat([kept, extra])
    return sources


def _outliers(
    model: nn.Module,
    network: Network,
    part: tuple[str, int],
    size: int,
    steps: Mapping[str, Mapping[str, Tensor]],
) -> Tensor:
    """For each unit of a part its largest outgoing weight, in steps, summed over consumers."""
    total = torch.zeros(size, device="cpu")
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        for parameter in layer.parameters:
            if parameter.name not in steps.get(layer.name, {}):
                continue
            dim = _reading_axis(parameter)
            layouts = network.outputs if parameter.axes[dim].role == "hidden" else network.inputs
            spans = _spans(layouts[layer.name], part)
            if not spans:
                continue
            weight = getattr(module, parameter.name).detach() / steps[layer.name][parameter.name]
            largest = weight.abs().transpose(0, dim).flatten(1).amax(1).cpu()  # [columns]
            for start, run in spans:
                total += largest[start : start + size * run].view(size, run).amax(1)
    return total


def _reading_axis(parameter: ParameterSpec) -> int:
    """The axis along which a weight reads units."""
    return next(i for i, axis in enumerate(parameter.axes) if axis.role in ("in", "hidden"))


def _spans(layout: Layout, part: tuple[str, int]) -> list[tuple[int, int]]:
    """Where on an axis the units of a part begin, and how many entries each takes."""
    spans, position = [], 0
    for segment in layout:
        if (segment.group, segment.part) == part:
            spans.append((position, segment.run))
        position += segment.entries
    return spans


# --- growing one parameter ------------------------------------------------------------------------


def _entry_sources(layout: Layout, sources: Sources) -> Tensor:
    """For each entry of a grown axis the old one that it comes from.

    A fresh one is FRESH or less; both of a pair have the same number.
    """
    parts, position, pairs = [torch.empty(0, dtype=torch.long, device="cpu")], 0, 0
    for segment in layout:
        units = torch.arange(segment.size, device="cpu")
        if segment.group is not None:
            units = sources[segment.group, segment.part]
        fresh = units == FRESH
        own = torch.where(fresh, pairs + (fresh.cumsum(0) - 1) // 2, units)[:, None]
        entries = own * segment.run + torch.arange(segment.run, device="cpu")
        entries = torch.where(fresh[:, None], FRESH - entries, entries + position)
        parts.append(entries.reshape(-1))
        position += segment.entries
        pairs += int(fresh.sum() + 1) // 2
    return torch.cat(parts)


def _grow_parameter(
    old: Tensor,
    spec: ParameterSpec,
    shape: tuple[int, ...],
    sources: Mapping[str, Tensor],
    step: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Columns first, then rows: replicas of a row share its split columns, and so its value."""
    if old.is_meta:
        return old.new_empty(shape)
    tensor = old.detach()
    reads_last = sorted(range(len(spec.axes)), key=lambda dim: spec.axes[dim].role in COPIED)
    for dim in reads_last:
        axis = spec.axes[dim]
        if axis.role == "fixed":
            continue
        chosen = sources[axis.role].to(tensor.device)
        if not len(chosen) or len(chosen) * axis.copies == axis.size:
            continue
        if axis.role in COPIED:
            tensor = _grow_rows(tensor, dim, axis, chosen, generator, spec.role)
        else:
            tensor = _split_columns(tensor, dim, chosen, step, generator)
    return tensor.clone(memory_format=torch.contiguous_format)


def _grow_rows(
    tensor: Tensor, dim: int, axis: Axis, sources: Tensor, generator: torch.Generator, role: Role
) -> Tensor:
    """Copy the rows of duplicated units; draw those of fresh ones, the same for both of a pair.

    What a norm knows of its units is copied also for fresh ones: a variance is not drawn.
    """
    blocks = []
    for block in tensor.chunk(axis.copies, dim):
        rows = block.index_select(dim, sources.clamp_min(0))
        new = (sources <= FRESH).nonzero().reshape(-1)
        if len(new) and role != "norm":
            rows.index_copy_(dim, new, _fresh_rows(block, dim, sources[new], generator))
        blocks.append(rows)
    return torch.cat(blocks, dim)


def _fresh_rows(block: Tensor, dim: int, pairs: Tensor, generator: torch.Generator) -> Tensor:
    """Random rows with the mean and spread of the block's, one for each number in ``pairs``."""
    _, numbers = torch.unique(pairs, return_inverse=True)
    shape = list(block.shape)
    shape[dim] = int(numbers.max()) + 1
    noise = torch.randn(shape, generator=generator).to(block)
    rows = block.mean() + block.std(correction=0) * noise
    return rows.index_select(dim, numbers)


def _split_columns(
    tensor: Tensor, dim: int, sources: Tensor, step: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Divide each old column among its replicas, unevenly; give fresh columns opposite pairs.

    Args:
        dim: the axis of the columns, 0 or 1.
        step: quantization steps of the rows as they are stored, [rows, 1]; None for even shares.
    """
    known = sources.clamp_min(0)
    replicas = torch.bincount(sources[sources > FRESH], minlength=tensor.shape[dim])
    columns = tensor.transpose(0, dim).contiguous()  # [columns, others, ...]
    shares = replicas.clamp_min(1)[known].view(-1, *[1] * (tensor.ndim - 1))
    result = columns.index_select(0, known) / shares
    result[sources <= FRESH] = 0.0
    if step is None:
        return result.transpose(0, dim)
    flat = step.reshape(-1) if dim else step.mean().reshape(1)
    offsets = flat.view(-1, *[1] * (tensor.ndim - 2))
    for first, second in _pairs(sources):
        share = 0.5 if int(sources[first]) <= FRESH else 0.25
        signs = torch.randint(0, 2, tuple(result.shape[1:]), generator=generator).to(tensor) * 2 - 1
        result[first] += share * offsets * signs
        result[second] -= share * offsets * signs
    return result.transpose(0, dim)


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
