"""Which units are duplicated when layers grow, and which entry of an axis each new entry copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autoquant.graph.network import Layout, Network
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import Plan
from autoquant.quantization.codes import Grid
from autoquant.quantization.scale_rules import mse_scale
from autoquant.settings import Scheme

FRESH = -1  # in place of the old unit or entry that a new one copies: it copies none
MEAN = -2  # likewise: its row is the mean of all old ones
ZEROS = -3  # likewise: its row is zeros
UNPAIRED = -1  # in place of the number of a pair: the entry is not fresh
MAX_SPLIT_BITS = 4  # with the smaller scales of more bits, replicas would stay alike

Part = tuple[str, int]  # a group, and which of its sets of units
Scales = Mapping[str, Mapping[str, Tensor]]
"""By layer, what ``outgoing_scales`` gives of it."""
Sources = Mapping[Part, Tensor]
"""For each part of a group, the old unit that each unit copies (or FRESH, MEAN, ZEROS); [units]."""


class SegmentGrowth(NamedTuple):
    """Entries of a segment that a mean or zeros are added to.

    Attributes:
        old: the first old entry.
        new: the first added entry.
        size: old units.
        added: new units.
        run: entries of each unit.
        zeros: whether zeros are added.
    """

    old: int
    new: int
    size: int
    added: int
    run: int
    zeros: bool


class EntrySources(NamedTuple):
    """Where the entries of a grown axis come from.

    Attributes:
        old: the old entry that each entry copies, or FRESH, MEAN or ZEROS; [entries].
        pair: for entries that copy none the number of their pair, the same for both; for others
            UNPAIRED; [entries].
        segments: those that a mean or zeros are added to.
    """

    old: Tensor
    pair: Tensor
    segments: tuple[SegmentGrowth, ...] = ()

    @property
    def fresh(self) -> Tensor:
        """Whether each entry copies none, [entries]."""
        return self.old < 0

    def to(self, device: torch.device) -> EntrySources:
        """The same on a device.

        Args:
            device: where the parameter is that grows.
        """
        return self._replace(old=self.old.to(device), pair=self.pair.to(device))


def entry_sources(layout: Layout, sources: Sources) -> EntrySources:
    """The old entry that each entry of a grown axis copies.

    Fresh units come in pairs: the first and the second of a segment, the third and the fourth, ...

    Args:
        layout: of the axis before it grows.
        sources: the old unit of each new one.
    """
    empty = torch.empty(0, dtype=torch.long, device="cpu")
    old_parts, pair_parts = [empty], [empty]
    segments = []
    position = new_position = pairs = 0  # old and new entries, and pairs, before the segment
    for segment in layout:
        units = torch.arange(segment.size, device="cpu")
        if segment.group is not None:
            units = sources[segment.group, segment.part]
        fresh = units < 0  # [units]
        unit_pairs = pairs + (fresh.cumsum(0) - 1) // 2
        run = torch.arange(segment.run, device="cpu")  # a unit takes so many entries
        old = torch.where(fresh[:, None], units[:, None], position + _entries(units, run))
        pair = torch.where(fresh[:, None], _entries(unit_pairs, run), UNPAIRED)
        old_parts.append(old.reshape(-1))
        pair_parts.append(pair.reshape(-1))
        added = len(units) - segment.size
        if added and segment.new_units != "copies":
            first = new_position + segment.entries
            sizes = segment.size, added, segment.run
            segments.append(SegmentGrowth(position, first, *sizes, segment.new_units == "zeros"))
        position += segment.entries
        new_position += len(units) * segment.run
        pairs += int(fresh.sum() + 1) // 2
    return EntrySources(torch.cat(old_parts), torch.cat(pair_parts), tuple(segments))


def _entries(units: Tensor, run: Tensor) -> Tensor:
    """The entries that units take, [units, run]."""
    return units[:, None] * len(run) + run


def outgoing_scales(
    model: nn.Module, layer: LayerSpec, plan: Plan, scheme: Scheme
) -> dict[str, Tensor]:
    """The quantization scale of each weight of a layer that reads units, [rows, 1] or [1, 1].

    Args:
        model: at its old widths.
        layer: one of its layers.
        plan: tells the bits.
        scheme: tells the grid, and whether each row has a scale.
    """
    module, choice = model.get_submodule(layer.name), plan[layer.name]
    scales = {}
    for parameter in layer.parameters:
        if any(axis.role in ("in", "hidden") for axis in parameter.axes):
            bits = min(choice.bits_of(parameter.role), MAX_SPLIT_BITS)
            grid = Grid.signed(bits, scheme.grid)
            per_channel = scheme.granularity == "channel"
            weight = getattr(module, parameter.name).detach()
            scales[parameter.name] = mse_scale(weight, grid, per_channel=per_channel)
    return scales


def choose_sources(
    model: nn.Module, network: Network, grown: Network, scales: Scales, method: str
) -> Sources:
    """For every part of a group the old units that its new ones copy.

    Args:
        model: at its old widths.
        network: of the model.
        grown: the network at the new widths.
        scales: of weights that read units.
        method: "split" duplicates the units with the largest outgoing weights first, "even" all in
            turn, "fresh" none. Where a norm needs a mean or zeros, the method does not matter.
    """
    sizes = {}
    for name, layout in network.outputs.items():
        for old, new in zip(layout, grown.outputs[name], strict=True):
            if old.group is not None:
                sizes[old.group, old.part] = old.size, new.size, old.new_units
    sources: dict[Part, Tensor] = {}
    for part, (old_size, new_size, new_units) in sizes.items():
        added, kept = new_size - old_size, torch.arange(old_size, device="cpu")
        if new_units != "copies":
            row = MEAN if new_units == "mean" else ZEROS
            extra = torch.full((added,), row, device="cpu")
        elif method == "even":
            extra = torch.arange(added, device="cpu") % old_size
        elif method == "fresh":
            extra = torch.full((added,), FRESH, device="cpu")
        else:
            outliers = _largest_outgoing(model, network, part, old_size, scales)
            order = outliers.argsort(descending=True, stable=True)
            extra = order.repeat(added // old_size + 1)[:added].cpu()
        sources[part] = torch.cat([kept, extra])
    return sources


def _largest_outgoing(
    model: nn.Module, network: Network, part: Part, size: int, scales: Scales
) -> Tensor:
    """For each unit its largest outgoing weight in scales, summed over the layers that read it.

    Args:
        model: at its old widths.
        network: of the model.
        part: whose units.
        size: number of its units.
        scales: of weights that read units.

    Returns:
        [units].
    """
    total = torch.zeros(size, device="cpu")
    for layer in network.layers:
        module, layer_scales = model.get_submodule(layer.name), scales.get(layer.name, {})
        for parameter in layer.parameters:
            if parameter.name not in layer_scales:
                continue
            axis = _reading_axis(parameter)
            layouts = network.outputs if parameter.axes[axis].role == "hidden" else network.inputs
            stretches = [*_stretches(layouts[layer.name], part)]
            if not stretches:
                continue
            weight = getattr(module, parameter.name).detach() / layer_scales[parameter.name]
            largest = weight.abs().transpose(0, axis).flatten(1).amax(1).cpu()  # [columns]
            for start, run in stretches:
                total += largest[start : start + size * run].view(size, run).amax(1)
    return total


def _reading_axis(parameter: ParameterSpec) -> int:
    """The axis along which a weight reads units."""
    return next(i for i, axis in enumerate(parameter.axes) if axis.role in ("in", "hidden"))


def _stretches(layout: Layout, part: Part) -> Iterator[tuple[int, int]]:
    """Where on an axis the units of a part begin, and how many entries each takes."""
    position = 0
    for segment in layout:
        if (segment.group, segment.part) == part:
            yield position, segment.run
        position += segment.entries
