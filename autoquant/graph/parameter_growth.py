"""Growing one parameter: rows are copied, drawn, a mean or zeros; columns are split or in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autoquant.graph.unit_sources import FRESH, EntrySources, SegmentGrowth
from autoquant.layers import Axis, ParameterSpec
from autoquant.layers.spec import Role

COPIED = ("out", "grouped")  # roles of axes whose entries are copied; those of others are split


def grow_parameter(
    old: Tensor,
    spec: ParameterSpec,
    shape: tuple[int, ...],
    sources: Mapping[str, EntrySources],
    scale: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """A parameter at another shape, of values that keep the model's function.

    Columns grow first, then rows: replicas of a row share its split columns, so that they have the
    same value.

    Args:
        old: its values; a tensor on the meta device gives another one there.
        spec: its axes before it grows.
        shape: after it has grown.
        sources: for each role of an axis, where the entries of a block along it come from.
        scale: of the quantized parameter, [rows, 1] or [1, 1]; None splits into equal shares.
        generator: of random signs and fresh rows.
    """
    if old.is_meta:
        return old.new_empty(shape)
    tensor = old.detach()
    for dim in sorted(range(len(spec.axes)), key=lambda dim: spec.axes[dim].role in COPIED):
        axis = spec.axes[dim]
        if axis.role == "fixed":
            continue
        entries = sources[axis.role].to(tensor.device)
        if not len(entries.old) or len(entries.old) * axis.copies == axis.size:
            continue
        if axis.role in COPIED:
            tensor = _grow_rows(tensor, dim, axis, entries, generator, spec.role)
        else:
            tensor = _split_columns(tensor, dim, entries, scale, generator)
    return tensor.clone(memory_format=torch.contiguous_format)


def _grow_rows(
    tensor: Tensor,
    dim: int,
    axis: Axis,
    sources: EntrySources,
    generator: torch.Generator,
    role: Role,
) -> Tensor:
    """Copy the rows of duplicated units; draw those of fresh ones, the same for both of a pair.

    Values of a norm are copied also for fresh ones: a variance cannot be drawn.

    Args:
        tensor: the parameter.
        dim: the axis of the rows.
        axis: what is known of it.
        sources: of the rows of one block.
        generator: of fresh rows.
        role: the parameter's.
    """
    blocks = []
    for block in tensor.chunk(axis.copies, dim):
        rows = block.index_select(dim, sources.old.clamp_min(0))
        fresh = (sources.old == FRESH).nonzero().reshape(-1)
        if len(fresh) and role != "norm":
            rows.index_copy_(dim, fresh, _fresh_rows(block, dim, sources.pair[fresh], generator))
        for segment in sources.segments:
            zeros = segment.zeros and role != "norm"
            new = rows.narrow(dim, segment.new, segment.added * segment.run)
            new.copy_(0 * new if zeros else _mean_rows(block, dim, segment))
        blocks.append(rows)
    return torch.cat(blocks, dim)


def _mean_rows(block: Tensor, dim: int, segment: SegmentGrowth) -> Tensor:
    """The mean of the old rows of a segment, once for each new unit.

    Args:
        block: old rows.
        dim: the axis of the rows.
        segment: that grows.
    """
    old = block.narrow(dim, segment.old, segment.size * segment.run)
    units = (*old.shape[:dim], segment.size, segment.run, *old.shape[dim + 1 :])
    mean = old.reshape(units).mean(dim)
    return torch.cat([mean] * segment.added, dim)


def grow_norm_parameter(old: Tensor, units: int, *, is_gain: bool) -> Tensor:
    """A gain or bias of a norm over all units, so that old units keep their values.

    The bias of new units is 0; their gain is the mean of the others.

    Args:
        old: its values, [old units].
        units: after growing.
        is_gain: whether it is the gain.
    """
    if old.is_meta:
        return old.new_empty(units)
    values, added = old.detach(), units - len(old)
    if not is_gain:
        return torch.cat([values, values.new_zeros(added)])
    return torch.cat([values, values.mean().expand(added)]) * math.sqrt(len(old) / units)


def grow_table(old: Tensor, sources: EntrySources) -> Tensor:
    """A tensor outside the layers that is added to units, such as a position table.

    Args:
        old: its values, units along the last axis.
        sources: of the entries of that axis.
    """
    axis = Axis("out", old.shape[-1])
    entries = sources.to(old.device)
    return _grow_rows(old.detach(), old.ndim - 1, axis, entries, torch.Generator(), "weight")


def _fresh_rows(block: Tensor, dim: int, pairs: Tensor, generator: torch.Generator) -> Tensor:
    """Random rows with the mean and standard deviation of a block, the same for both of a pair.

    Args:
        block: old rows.
        dim: the axis of the rows.
        pairs: the number of the pair of each row, [rows].
        generator: of the rows.
    """
    distinct, numbers = torch.unique(pairs, return_inverse=True)
    shape = list(block.shape)
    shape[dim] = len(distinct)
    noise = torch.randn(shape, generator=generator).to(block)
    rows = block.mean() + block.std(correction=0) * noise
    return rows.index_select(dim, len(distinct) - 1 - numbers)  # drawn for the last pair first


def _split_columns(
    tensor: Tensor,
    dim: int,
    sources: EntrySources,
    scale: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Divide each old column among its replicas, unevenly; give fresh pairs opposite columns.

    Args:
        tensor: the parameter.
        dim: the axis of the columns, 0 or 1.
        sources: of the columns.
        scale: of the rows as they are stored, [rows, 1] or [1, 1]; None for even shares, and pairs
            as large as the other columns.
        generator: of random signs.
    """
    copied = sources.old[~sources.fresh]
    replicas = torch.bincount(copied, minlength=tensor.shape[dim])  # [old columns]
    old = sources.old.clamp_min(0)
    columns = tensor.transpose(0, dim).contiguous()  # [old columns, rows, ...]
    counts = replicas.clamp_min(1)[old].view(-1, *[1] * (tensor.ndim - 1))
    result = columns.index_select(0, old) / counts  # [columns, rows, ...]
    result[sources.fresh] = 0.0
    even = scale is None
    if scale is None:
        scale = 2 * tensor.std(correction=0).reshape(1, 1)
    flat = scale.reshape(-1) if dim else scale.mean().reshape(1)
    scales = flat.view(-1, *[1] * (tensor.ndim - 2))  # [rows, 1, ...]
    for first, second in _pairs(sources):
        is_fresh = bool(sources.fresh[first])
        if even and not is_fresh:
            continue
        share = 0.5 if is_fresh else 0.25
        signs = torch.randint(0, 2, tuple(result.shape[1:]), generator=generator).to(tensor) * 2 - 1
        result[first] += share * scales * signs
        result[second] -= share * scales * signs
    return result.transpose(0, dim)


def _pairs(sources: EntrySources) -> list[tuple[int, int]]:
    """Disjoint pairs of columns with one source; a replica left over keeps its even share."""
    waiting: dict[tuple[int, int], int] = {}
    pairs = []
    numbers = zip(sources.old.tolist(), sources.pair.tolist(), strict=True)
    for position, source in enumerate(numbers):
        if source in waiting:
            pairs.append((waiting.pop(source), position))
        else:
            waiting[source] = position
    return pairs
