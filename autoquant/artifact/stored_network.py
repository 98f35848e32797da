"""A network as a packed file stores it: plain lists, from which sizes follow for any widths.

A file holds the layers and norms before growing, and which units each of them reads and writes. So
the names, types and shapes of its tensors follow from the plan, and the file can be read without
the model.

Axes and layouts are short texts. An axis is its role, size and copies: ``o1200x4`` has the units of
four gates. A layout is its segments: ``16`` never changes, ``3:16x4.1`` are the 16 units of part 1
of the group that layer number 3 is the first of, four entries each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any, get_args

from autoquant.graph.network import Layout, Network, Segment, UnquantizedTensor, entries_of
from autoquant.layers import Axis, LayerSpec, ParameterSpec
from autoquant.layers.spec import NewUnits

LARGEST = 1 << 48  # of the sizes that a file may hold
NOT_LIVE = "its file lets it not grow"

_ROLES: Mapping[str, Any] = {
    "o": "out",
    "i": "in",
    "g": "grouped",
    "h": "hidden",
    "f": "fixed",
    "w": "weight",
    "r": "recurrent",
    "b": "bias",
    "n": "norm",
}
"""Roles of axes and of parameters, by the letters that stand for them."""
_LETTERS = {role: letter for letter, role in _ROLES.items()}
_AXIS = re.compile(r"([oighf])(\d{1,15})(?:x(\d{1,15}))?")
_SEGMENT = re.compile(r"(?:(\d{1,9}):)?(\d{1,15})(?:x(\d{1,15}))?(?:\.(\d{1,9}))?")
_FLAGS = ("multiplies", "recurrent", "follows")
_NEW_UNITS = get_args(NewUnits)  # their order is part of the format


# --- writing -------------------------------------------------------------------------------------


def encode_network(network: Network) -> dict[str, Any]:
    """A network as plain values; see ``decode_network``.

    Args:
        network: before growing.
    """
    numbers = {layer.name: number for number, layer in enumerate(network.layers_and_norms)}
    return {
        "layers": [_encode_layer(layer, network, numbers) for layer in network.layers_and_norms],
        "tensors": [_encode_tensor(tensor, network, numbers) for tensor in network.unquantized],
    }


def _encode_layer(layer: LayerSpec, network: Network, numbers: Mapping[str, int]) -> list[Any]:
    """One layer or norm as a list.

    Args:
        layer: before growing.
        network: that it is part of.
        numbers: of all layers and norms, by name.
    """
    flags = sum(getattr(layer, flag) << bit for bit, flag in enumerate(_FLAGS))
    flags |= (layer.eps is not None) << len(_FLAGS)
    flags |= _NEW_UNITS.index(layer.new_units) << len(_FLAGS) + 1
    group = network.groups.get(layer.name, layer.name)
    return [
        layer.name,
        layer.kind,
        layer.units,
        layer.features,
        layer.directions,
        layer.blocks,
        flags,
        [_encode_parameter(parameter) for parameter in layer.parameters],
        _encode_layout(network.inputs.get(layer.name, ()), network, numbers),
        _encode_layout(network.outputs[layer.name], network, numbers),
        numbers[group],
    ]


def _encode_parameter(parameter: ParameterSpec) -> list[str]:
    axes = (
        f"{_LETTERS[axis.role]}{axis.size}{f'x{axis.copies}' if axis.copies != 1 else ''}"
        for axis in parameter.axes
    )
    return [parameter.name, " ".join([_LETTERS[parameter.role], *axes]), parameter.shared]


def _encode_tensor(
    tensor: UnquantizedTensor, network: Network, numbers: Mapping[str, int]
) -> list[Any]:
    """A tensor outside the layers as a list, with the layout of its last axis if that may grow.

    Args:
        tensor: before growing.
        network: that it is part of.
        numbers: of all layers and norms, by name.
    """
    layout = _encode_layout(tensor.layout, network, numbers)
    row = [tensor.name, tensor.dtype, list(tensor.shape)]
    return [*row, layout] if ":" in layout else row


def _encode_layout(layout: Layout, network: Network, numbers: Mapping[str, int]) -> str:
    """A layout as text, in which frozen groups are no groups.

    Args:
        layout: of an axis.
        network: knows the frozen groups.
        numbers: of all layers and norms, by name.
    """
    texts, fixed = [], 0
    for segment in (*layout, None):
        if segment is not None and (segment.group is None or segment.group in network.frozen):
            fixed += segment.entries
            continue
        if fixed:
            texts.append(str(fixed))
            fixed = 0
        if segment is not None and segment.group is not None:
            run = f"x{segment.run}" if segment.run != 1 else ""
            part = f".{segment.part}" if segment.part else ""
            texts.append(f"{numbers[segment.group]}:{segment.size}{run}{part}")
    return " ".join(texts)


# --- reading -------------------------------------------------------------------------------------


def decode_network(content: Mapping[str, Any]) -> Network:
    """The network that was encoded; its dropouts and the reasons of frozen groups are not stored.

    Args:
        content: plain values that anybody may have written.

    Raises:
        ValueError: the content is no network, or one whose layers do not fit together.
    """
    rows = [_typed(row, list) for row in _typed(content["layers"], list)]
    layers = [_decode_layer(row) for row in rows]
    names = [layer.name for layer in layers]
    count = sum(not layer.follows for layer in layers)
    rows_of_tensors = _typed(content["tensors"], list)
    unquantized = tuple(_decode_tensor(row, names[:count]) for row in rows_of_tensors)
    _refuse_twice([*names, *(tensor.name for tensor in unquantized)])
    _require(not any(layer.follows for layer in layers[:count]), "layers before norms")
    pairs = [*zip(names, rows, strict=True)]
    inputs = {name: _decode_layout(row[8], names[:count]) for name, row in pairs}
    outputs = {name: _decode_layout(row[9], names[:count]) for name, row in pairs}
    groups = {
        name: names[_whole(row[10], 0, number)] for number, (name, row) in enumerate(pairs[:count])
    }
    network = Network(
        tuple(layers[:count]),
        tuple(layers[count:]),
        MappingProxyType(inputs),
        MappingProxyType(outputs),
        MappingProxyType(groups),
        MappingProxyType({}),
        unquantized,
        MappingProxyType({}),
    )
    _check_layouts(network)
    live = {segment.group for layout in outputs.values() for segment in layout}
    frozen = {group: NOT_LIVE for group in groups.values() if group not in live}
    return replace(network, frozen=MappingProxyType(frozen))


def _decode_layer(row: Sequence[Any]) -> LayerSpec:
    """One layer, or a norm."""
    _require(len(row) == 11, "11 values of a layer")
    name, kind, units, features, directions, blocks, flags, parameters = row[:8]
    bits = _whole(flags, 0, 63)
    multiplies, recurrent, follows = (bool(bits >> bit & 1) for bit in range(len(_FLAGS)))
    return LayerSpec(
        _typed(name, str),
        _typed(kind, str),
        tuple(_decode_parameter(parameter) for parameter in _typed(parameters, list)),
        _whole(units, 1),
        _whole(features, 1),
        directions=_whole(directions, 1, 2),
        multiplies=multiplies,
        recurrent=recurrent,
        follows=follows,
        blocks=_whole(blocks, 1),
        eps=0.0 if bits >> len(_FLAGS) & 1 else None,  # its value stands beside the plan
        new_units=_NEW_UNITS[_whole(bits >> len(_FLAGS) + 1, 0, len(_NEW_UNITS) - 1)],
    )


def _decode_parameter(row: Any) -> ParameterSpec:
    name, text, shared = (_typed(value, str) for value in _typed(row, list))
    role, *axes = text.split(" ")
    _require(role in ("w", "r", "b", "n"), "the role of a parameter")
    return ParameterSpec(name, tuple(_decode_axis(axis) for axis in axes), _ROLES[role], shared)


def _decode_axis(text: str) -> Axis:
    match = _AXIS.fullmatch(text)
    if match is None:
        raise ValueError("an axis that is none")
    role, size, copies = match.groups()
    return Axis(_ROLES[role], _whole(int(size)), _whole(int(copies or 1), 1))


def _decode_layout(text: Any, names: Sequence[str]) -> Layout:
    """A layout.

    Args:
        text: as ``_encode_layout`` writes it.
        names: of the layers, by number.
    """
    segments = []
    for part in _typed(text, str).split():
        match = _SEGMENT.fullmatch(part)
        if match is None:
            raise ValueError("a layout that is none")
        group, size, run, number = match.groups()
        name = None if group is None else names[_whole(int(group), 0, len(names) - 1)]
        _require(name is not None or (run is None and number is None), "a fixed segment")
        sizes = _whole(int(size), 1), _whole(int(run or 1), 1)
        segments.append(Segment(name, *sizes, int(number or 0)))
    return tuple(segments)


def _decode_tensor(row: Any, names: Sequence[str]) -> UnquantizedTensor:
    """A tensor outside the layers.

    Args:
        row: as ``_encode_tensor`` writes it.
        names: of the layers, by number.
    """
    name, dtype, shape, *layouts = _typed(row, list)
    sizes = tuple(_whole(size) for size in _typed(shape, list))
    _require(len(layouts) <= 1, "one layout of a tensor")
    layout = _decode_layout(layouts[0], names) if layouts else ()
    _require(not layout or sizes[-1:] == (entries_of(layout),), "the layout of a tensor")
    return UnquantizedTensor(_typed(name, str), _typed(dtype, str), sizes, layout)


# --- checks --------------------------------------------------------------------------------------


def _check_layouts(network: Network) -> None:
    """Raise a ValueError unless layouts have the sizes of their layers and agree on their units."""
    sizes: dict[tuple[str, int], int] = {}
    for layer in network.layers_and_norms:
        read, written = network.inputs[layer.name], network.outputs[layer.name]
        _require(entries_of(written) == layer.units, "as many units as the layer has")
        _require(
            entries_of(read) == layer.features or (not read and not layer.multiplies),
            "as many features as the layer has",
        )
        is_fixed = all(segment.group is None for segment in written)
        follows = read == written or (is_fixed and not read)
        _require(follows or not layer.follows, "a norm that writes what it reads")
    layouts = (*network.inputs.values(), *network.outputs.values())
    for segment in chain(*layouts, *(tensor.layout for tensor in network.unquantized)):
        if segment.group is not None:
            _require(network.groups[segment.group] == segment.group, "the name of a group")
            key = segment.group, segment.part
            _require(sizes.setdefault(key, segment.size) == segment.size, "one size of a part")
    _check_writers_and_readers(network, {*sizes})


def _check_writers_and_readers(network: Network, parts: set[tuple[str, int]]) -> None:
    """Raise a ValueError unless layers write their own group, and others read each group.

    Args:
        network: whose layouts have the right sizes.
        parts: all that are in a layout: a group and the number of the part.
    """
    written, readers = set(), set()
    for layer in network.layers:
        group = network.groups[layer.name]
        _require(network.groups[group] == group, "a group that is named after its first layer")
        for segment in network.outputs[layer.name]:
            _require(segment.group in (group, None), "a layer that writes its own units")
            written.add((segment.group, segment.part))
        readers |= {segment.group for segment in network.inputs[layer.name]}
    live = {group for group, _ in parts}
    _require(parts <= written and live <= readers, "a reader and a writer for each group")


def _refuse_twice(names: Sequence[str]) -> None:
    _require(len(set(names)) == len(names), "names that differ")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"a network without {what}")


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _whole(value: Any, least: int = 0, most: int = LARGEST) -> int:
    """A whole number within bounds.

    Args:
        value: of any type.
        least: the smallest allowed one.
        most: the largest allowed one.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError("a number that is out of bounds")
    return value
