"""From units along axes to groups of layers that grow together, and the layouts of their axes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from autoquant.graph.network import Layout, Segment
from autoquant.graph.tracing.disjoint_sets import DisjointSets
from autoquant.graph.tracing.propagate import WidthPropagation
from autoquant.graph.tracing.units import NONE, Ids
from autoquant.layers import LayerSpec
from autoquant.layers.spec import NewUnits

MIXED = "its units are read in a mixed order"

Side = Literal["in", "out", "table"]
AxisKey = tuple[str, Side]
"""A layer's name, and whether the axis is its input's or its output's; or that of a table."""


@dataclass
class Widths:
    """How the axes of layers are made of units that grow together.

    Attributes:
        inputs: as ``Network.inputs``.
        outputs: as ``Network.outputs``.
        groups: as ``Network.groups``.
        frozen: as ``Network.frozen``.
        tables: the layout of the last axis of tensors outside the layers that have units.
    """

    inputs: dict[str, Layout] = field(default_factory=dict)
    outputs: dict[str, Layout] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Layout] = field(default_factory=dict)


def fixed(layers: Sequence[LayerSpec], reason: str) -> Widths:
    """Widths of layers of which none can grow.

    Args:
        layers: layers and norms.
        reason: why.
    """
    with_width = [layer for layer in layers if not layer.follows]
    names = [layer.name for layer in with_width]
    return Widths(
        inputs=_without_units(with_width),
        outputs={layer.name: (Segment(None, layer.units),) for layer in layers},
        groups=dict(zip(names, names, strict=True)),
        frozen=dict.fromkeys(names, reason),
    )


def _without_units(layers: Sequence[LayerSpec]) -> dict[str, Layout]:
    """Layouts of inputs that hold no units; of layers that look up, no layout."""
    return {
        layer.name: (Segment(None, layer.features),) if layer.multiplies else () for layer in layers
    }


def widths_of(propagation: WidthPropagation, layers: Sequence[LayerSpec]) -> Widths:
    """Groups of layers, and the layouts of their axes.

    Classes of units that no axis and no slice separates are one part; the parts of a layer's
    output are one group.

    Args:
        propagation: of the units through one forward pass, completed.
        layers: layers and norms.
    """
    units = propagation.state.units
    sides: dict[Side, dict[str, Ids]] = {
        "in": propagation.layers.columns,
        "out": propagation.layers.rows,
    }
    axes: dict[AxisKey, Ids] = {  # equivalence classes along each axis
        (layer.name, side): units.classes(ids[layer.name])
        for layer in layers
        for side, ids in sides.items()
        if layer.name in ids
    }
    for name, ids in propagation.layers.tables.items():
        axes[name, "table"] = units.classes(ids)
    parts = _parts([*axes.values(), *map(units.classes, propagation.state.slices)])
    order = {part: _order(axes.values(), members) for part, members in _members(parts).items()}
    pieces = {key: [*_pieces(classes, parts, order)] for key, classes in axes.items()}
    frozen: dict[int, str] = {}  # parts, and why
    for unit_class, reason in units.frozen():
        if unit_class in parts:
            frozen.setdefault(parts[unit_class], reason)
    for piece in (piece for axis_pieces in pieces.values() for piece in axis_pieces):
        if piece.part is not None and piece.mixed:
            frozen.setdefault(piece.part, MIXED)
    norms = propagation.layers.norms
    for part, reason in _not_alone({name: pieces[name, "in"] for name in norms.reads}):
        frozen.setdefault(part, reason)
    new_units = {parts[unit_class]: kind for unit_class, kind in norms.new_units().items()}
    return _Grouping(layers, pieces, new_units).widths(frozen)


def _not_alone(reads: Mapping[str, Sequence[_Piece]]) -> Iterator[tuple[int, str]]:
    """Parts that a norm over all units reads together with others, and the reason that this is.

    Args:
        reads: what each norm reads.
    """
    for name, pieces in reads.items():
        if len(pieces) == 1 and pieces[0].run == 1:
            continue
        for piece in pieces:
            if piece.part is not None:
                yield piece.part, f"is normalised by {name} together with other units"


# --- parts: classes of units that can grow by one width ------------------------------------------


def _parts(axes_and_slices: Sequence[Ids]) -> dict[int, int]:
    """The part of each class: classes with equal places in all axes and slices are one part."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, classes in enumerate(axes_and_slices):
        present, counts = np.unique(classes[classes != NONE], return_counts=True)
        for unit_class, count in zip(present.tolist(), counts.tolist(), strict=True):
            places[unit_class].append((number, count))
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    return {
        unit_class: numbers.setdefault(tuple(where), len(numbers))
        for unit_class, where in places.items()
    }


def _members(parts: Mapping[int, int]) -> dict[int, set[int]]:
    """The classes of each part."""
    members: dict[int, set[int]] = defaultdict(set)
    for unit_class, part in parts.items():
        members[part].add(unit_class)
    return members


def _order(axes: Iterable[Ids], members: set[int]) -> list[int]:
    """The order of a part's classes, as in the first axis that has them."""
    for classes in axes:
        in_axis = dict.fromkeys(classes.tolist())
        ordered = [unit_class for unit_class in in_axis if unit_class in members]
        if ordered:
            return ordered
    return sorted(members)


# --- pieces: stretches of an axis that hold one part ---------------------------------------------


@dataclass
class _Piece:
    """A stretch of an axis.

    Attributes:
        part: whose classes it holds, all and in order; None where it holds no units.
        size: number of classes; 1 where it holds no units.
        run: entries of the axis that each class takes.
        mixed: whether it holds one class only, as those of its part do not stand in order here.
    """

    part: int | None
    size: int
    run: int
    mixed: bool = False


def _pieces(
    classes: Ids, parts: Mapping[int, int], order: Mapping[int, Sequence[int]]
) -> Iterator[_Piece]:
    """An axis as pieces, each with all classes of one part in their order, or with no units.

    Args:
        classes: along the axis, [entries].
        parts: the part of each class.
        order: the classes of each part.
    """
    runs = _runs(classes)
    position = 0
    while position < len(runs):
        unit_class, run = runs[position]
        if unit_class == NONE:
            yield _Piece(None, 1, run)
            position += 1
            continue
        part = parts[unit_class]
        expected = [(member, run) for member in order[part]]
        whole = runs[position : position + len(expected)] == expected
        yield _Piece(part, len(expected), run) if whole else _Piece(part, 1, run, mixed=True)
        position += len(expected) if whole else 1


def _runs(classes: Ids) -> list[tuple[int, int]]:
    """Equal numbers one after the other, as (number, how many).

    >>> _runs(np.array([7, 7, 4]))
    [(7, 2), (4, 1)]
    """
    if not len(classes):
        return []
    starts = np.flatnonzero(np.diff(classes, prepend=classes[0] - 1))
    sizes = np.diff([*starts, len(classes)])
    return [*zip(classes[starts].tolist(), sizes.tolist(), strict=True)]


# --- groups: layers whose outputs hold the same parts --------------------------------------------


class _Grouping:
    """Layers in groups: those whose outputs hold a common part have one width.

    Args:
        layers: layers and norms.
        pieces: of each axis.
        new_units: what the new units of a part hold, where they are no copies.
    """

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        pieces: Mapping[AxisKey, Sequence[_Piece]],
        new_units: Mapping[int, NewUnits],
    ) -> None:
        self._layers = [layer for layer in layers if not layer.follows]
        self._names = [layer.name for layer in self._layers]
        self._pieces = pieces
        self._new_units = new_units
        self._sets = DisjointSets(len(self._names))
        self._first_layer: dict[int, int] = {}  # of each part: the first whose output holds it
        for number, name in enumerate(self._names):
            for piece in pieces[name, "out"]:
                if piece.part is not None:
                    first = self._first_layer.setdefault(piece.part, number)
                    self._sets.join_pair(first, number)

    def widths(self, frozen: Mapping[int, str]) -> Widths:
        """Groups by the name of their first layer, and the layouts of all axes.

        Args:
            frozen: parts that cannot grow, and why.
        """
        groups = {name: self._group(number) for number, name in enumerate(self._names)}
        widths = Widths(inputs=_without_units(self._layers), groups=groups)
        for part, reason in frozen.items():
            if part in self._first_layer:
                widths.frozen.setdefault(self._group_of_part(part), reason)
        numbers: dict[str, list[int]] = defaultdict(list)  # the parts of each group so far
        for (name, side), pieces in self._pieces.items():
            layouts = {"in": widths.inputs, "out": widths.outputs, "table": widths.tables}[side]
            layouts[name] = self._layout(pieces, widths.frozen, numbers)
        return widths

    def _group(self, layer: int) -> str:
        return self._names[self._sets.smallest_of(layer)]

    def _group_of_part(self, part: int) -> str:
        return self._group(self._first_layer[part])

    def _layout(
        self, pieces: Sequence[_Piece], frozen: Mapping[str, str], numbers: dict[str, list[int]]
    ) -> Layout:
        """Pieces as segments; adjacent ones that cannot grow are one segment.

        Args:
            pieces: of the axis.
            frozen: groups that cannot grow.
            numbers: the parts of each group so far; new ones are added.
        """
        segments: list[Segment] = []
        for piece in pieces:
            part = None if piece.part not in self._first_layer else piece.part
            group = None if part is None else self._group_of_part(part)
            if part is None or group is None or group in frozen:
                entries = piece.size * piece.run
                if segments and segments[-1].group is None:
                    entries += segments.pop().size
                segments.append(Segment(None, entries))
                continue
            parts = numbers[group]
            if part not in parts:
                parts.append(part)
            new_units = self._new_units.get(part, "copies")
            segments.append(Segment(group, piece.size, piece.run, parts.index(part), new_units))
        return tuple(segments)
