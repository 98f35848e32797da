"""Growing one parameter: rows are copied or drawn, columns are split among replicas."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoquant.graph.unit_sources import EntrySources
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
        fresh = sources.fresh.nonzero().reshape(-1)
        if len(fresh) and role != "norm":
            rows.index_copy_(dim, fresh, _fresh_rows(block, dim, sources.pair[fresh], generator))
        blocks.append(rows)
    return torch.cat(blocks, dim)


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
        scale: of the rows as they are stored, [rows, 1] or [1, 1]; None for even shares.
        generator: of random signs.
    """
    copied = sources.old[~sources.fresh]
    replicas = torch.bincount(copied, minlength=tensor.shape[dim])  # [old columns]
    old = sources.old.clamp_min(0)
    columns = tensor.transpose(0, dim).contiguous()  # [old columns, rows, ...]
    counts = replicas.clamp_min(1)[old].view(-1, *[1] * (tensor.ndim - 1))
    result = columns.index_select(0, old) / counts  # [columns, rows, ...]
    result[sources.fresh] = 0.0
    if scale is None:
        return result.transpose(0, dim)
    flat = scale.reshape(-1) if dim else scale.mean().reshape(1)
    scales = flat.view(-1, *[1] * (tensor.ndim - 2))  # [rows, 1, ...]
    for first, second in _pairs(sources):
        share = 0.5 if bool(sources.fresh[first]) else 0.25
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
