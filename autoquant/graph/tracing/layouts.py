"""From units along axes to groups of layers that grow together, and the layouts of their axes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autoquant.graph.network import Layout, Segment
from autoquant.graph.tracing.propagate import WidthPropagation
from autoquant.graph.tracing.units import NONE, Ids
from autoquant.layers import LayerSpec

MIXED = "its units are read in a mixed order"


@dataclass
class Widths:
    """How the axes of layers are made of units that grow together; see Network."""

    inputs: dict[str, Layout] = field(default_factory=dict)
    outputs: dict[str, Layout] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)


def fixed(layers: Sequence[LayerSpec], reason: str) -> Widths:
    """Widths of layers of which none can grow."""
    own = [layer for layer in layers if not layer.follows]
    names = [layer.name for layer in own]
    return Widths(
        inputs=_unread(own),
        outputs={layer.name: (Segment(None, layer.units),) for layer in layers},
        groups=dict(zip(names, names, strict=True)),
        frozen=dict.fromkeys(names, reason),
    )


def _unread(layers: Sequence[LayerSpec]) -> dict[str, Layout]:
    """Layouts of inputs that no units flow into."""
    return {
        layer.name: (Segment(None, layer.features),) if layer.multiplies else () for layer in layers
    }


def widths_of(walk: WidthPropagation, layers: Sequence[LayerSpec]) -> Widths:
    """Groups and layouts of a walk.

    Sets of units that no axis and no slice tells apart are one part; the parts of a layer's output
    are one group.
    """
    axes = {
        (layer.name, side): walk.propagation.units.atoms(held[layer.name])
        for layer in layers
        for side, held in (("in", walk.columns), ("out", walk.rows))
        if layer.name in held
    }
    parts = _parts(axes, [walk.propagation.units.atoms(mark) for mark in walk.propagation.marks])
    order = {part: _order(axes, atoms) for part, atoms in _members(parts).items()}
    frozen: dict[int, str] = {}
    for atom, reason in walk.propagation.units.frozen():
        if atom in parts:
            frozen.setdefault(parts[atom], reason)
    cut = {key: [*_cut(line, parts, order)] for key, line in axes.items()}
    for pieces in cut.values():
        for piece in pieces:
            if piece.part is not None and piece.mixed:
                frozen.setdefault(piece.part, MIXED)
    return _grouped(layers, cut, frozen)


@dataclass
class _Piece:
    part: int | None
    size: int
    run: int
    mixed: bool = False


def _parts(axes: Mapping[tuple[str, str], Ids], marks: Sequence[Ids]) -> dict[int, int]:
    """The part of each atom: atoms with equal places in all axes and slices are of one part."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, line in enumerate([*axes.values(), *marks]):
        atoms, counts = np.unique(line[line != NONE], return_counts=True)
        for atom, count in zip(atoms.tolist(), counts.tolist(), strict=True):
            places[atom].append((number, count))
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    return {atom: numbers.setdefault(tuple(where), len(numbers)) for atom, where in places.items()}


def _members(parts: Mapping[int, int]) -> dict[int, set[int]]:
    members: dict[int, set[int]] = defaultdict(set)
    for atom, part in parts.items():
        members[part].add(atom)
    return members


def _order(axes: Mapping[tuple[str, str], Ids], atoms: set[int]) -> list[int]:
    """The order of a part's atoms, as in the first axis that has them."""
    for line in axes.values():
        found = [atom for atom in dict.fromkeys(line.tolist()) if atom in atoms]
        if found:
            return found
    return sorted(atoms)


def _cut(
    line: Ids, parts: Mapping[int, int], order: Mapping[int, Sequence[int]]
) -> Iterator[_Piece]:
    """An axis as pieces, each with all units of one part in their order, or with no units."""
    runs = _runs(line)
    at = 0
    while at < len(runs):
        atom, run = runs[at]
        if atom == NONE:
            yield _Piece(None, run, 1)
            at += 1
            continue
        part = parts[atom]
        wanted = order[part]
        some = runs[at : at + len(wanted)]
        if [each for each, _ in some] == list(wanted) and all(size == run for _, size in some):
            yield _Piece(part, len(wanted), run)
            at += len(wanted)
        else:
            yield _Piece(part, 1, run, mixed=True)
            at += 1


def _runs(line: Ids) -> list[tuple[int, int]]:
    """Equal numbers one after the other, as (number, how many)."""
    if not len(line):
        return []
    starts = np.flatnonzero(np.diff(line, prepend=line[0] - 1))
    sizes = np.diff([*starts, len(line)])
    return [*zip(line[starts].tolist(), sizes.tolist(), strict=True)]


def _grouped(
    layers: Sequence[LayerSpec],
    cut: Mapping[tuple[str, str], list[_Piece]],
    frozen: Mapping[int, str],
) -> Widths:
    """Parts that stand in one output are of one group, which has its first layer's name."""
    owners = [layer for layer in layers if not layer.follows]
    group_of: dict[int, str] = {}  # of parts
    parents: dict[str, str] = {layer.name: layer.name for layer in owners}

    def find(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    names = [layer.name for layer in owners]
    for name in names:
        for piece in cut[name, "out"]:
            if piece.part is None:
                continue
            other = group_of.setdefault(piece.part, name)
            first, second = sorted((find(other), find(name)), key=names.index)
            parents[second] = first
    widths = Widths(inputs=_unread(owners), groups={name: find(name) for name in names})
    for part, reason in frozen.items():
        if part in group_of:
            widths.frozen.setdefault(find(group_of[part]), reason)
    numbers: dict[str, list[int]] = defaultdict(list)
    for (name, side), pieces in cut.items():
        layout = _layout(pieces, group_of, find, widths.frozen, numbers)
        (widths.inputs if side == "in" else widths.outputs)[name] = layout
    return widths


def _layout(
    pieces: Sequence[_Piece],
    group_of: Mapping[int, str],
    find: Callable[[str], str],
    frozen: Mapping[str, str],
    numbers: dict[str, list[int]],
) -> Layout:
    """Pieces as segments; those that cannot grow run together."""
    segments: list[Segment] = []
    for piece in pieces:
        part = piece.part
        group = None if part is None else find(group_of[part])
        if part is None or group is None or group in frozen:
            fixed = piece.size * piece.run
            if segments and segments[-1].group is None:
                fixed += segments.pop().size
            segments.append(Segment(None, fixed))
            continue
        known = numbers[group]
        if part not in known:
            known.append(part)
        segments.append(Segment(group, piece.size, piece.run, known.index(part)))
    return tuple(segments)
