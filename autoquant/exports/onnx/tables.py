"""Tables whose rows are looked up; they stay packed in memory."""

from __future__ import annotations

import numpy as np

from autoquant.exports.layers import TableLayer
from autoquant.exports.onnx.graph import CONTRIB, GraphBuilder
from autoquant.exports.onnx.levels import Levels, levels_of, packed
from autoquant.exports.stored import Stored
from autoquant.exports.weights import CodedWeight, FloatWeight

LEAST_BLOCK = 16


def lookup(
    graph: GraphBuilder, indices: str, layer: TableLayer, *, least: int = 4
) -> tuple[str, Stored]:
    """Look up rows.

    Args:
        graph: gets the nodes.
        indices: name of the indices [...].
        layer: the table.
        least: fewest bits of its integers: 4, or 2 for a smaller file that runs slower.

    Returns:
        the name of the rows [..., units], and what was stored.
    """
    name, table = f"{layer.name}.weight", layer.table
    if isinstance(table, FloatWeight):
        vectors, stored = _float(graph, indices, name, table)
    else:
        vectors, stored = _coded(graph, indices, name, table, least)
    return with_zero_rows(graph, indices, vectors, layer), stored


def with_zero_rows(graph: GraphBuilder, indices: str, vectors: str, layer: TableLayer) -> str:
    """Vectors, zeros in place of the rows for padding.

    Args:
        graph: gets the nodes.
        indices: name of the indices [...].
        vectors: name of what was looked up, [..., units].
        layer: the table.
    """
    for row in layer.zero_rows:
        is_row = graph.node("Equal", indices, graph.constant(np.int64(row), "row"))
        is_row = graph.node("Unsqueeze", is_row, graph.constant([-1], "axes", np.int64))
        vectors = graph.node("Where", is_row, graph.constant(np.float32(0), "zero"), vectors)
    return vectors


def _float(graph: GraphBuilder, indices: str, name: str, table: FloatWeight) -> tuple[str, Stored]:
    """Rows of a float table.

    Args:
        graph: gets the nodes.
        indices: name of the indices.
        name: of the weight.
        table: the values.
    """
    half = table.bits == 16
    array = table.array.astype(np.float16) if half else table.array
    rows = graph.node("Gather", graph.constant(array, "weight"), indices, axis=0)
    rows = graph.node("Cast", rows, to=1) if half else rows
    return rows, Stored(name, table.bits, str(array.dtype), "Gather", array.nbytes)


def _coded(
    graph: GraphBuilder, indices: str, name: str, table: CodedWeight, least: int
) -> tuple[str, Stored]:
    """Rows of a packed table.

    Args:
        graph: gets the nodes.
        indices: name of the indices.
        name: of the weight.
        table: its codes.
        least: as in ``lookup``.
    """
    levels = levels_of(table, least)
    units = table.shape[1]
    if (levels.bits == 8 and levels.shift) or units * levels.bits % 8:
        return _by_rows(graph, indices, name, table, levels)
    block = max(LEAST_BLOCK, 1 << (units - 1).bit_length())  # a row has one scale
    data = graph.constant(packed(levels.integers, levels.bits), "weight")
    inputs = [data, indices, graph.constant(levels.scale[:, None], "scale")]
    if levels.bits == 2:
        inputs.append(graph.constant(np.full((len(levels.scale), 1), 2, np.uint8), "zero_points"))
    options = {"bits": levels.bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    rows = graph.node("GatherBlockQuantized", *inputs, domain=CONTRIB, **options)
    if levels.shift:
        half = graph.constant(levels.scale[:, None] * np.float32(levels.shift), "half_scale")
        rows = graph.node("Add", rows, graph.node("Gather", half, indices, axis=0))
    size = levels.integers.size * levels.bits // 8
    kind = f"int{levels.bits}"
    return rows, Stored(name, table.bits, kind, "GatherBlockQuantized", size, levels.scale.nbytes)


def _by_rows(
    graph: GraphBuilder, indices: str, name: str, table: CodedWeight, levels: Levels
) -> tuple[str, Stored]:
    """Rows of a table of 8 bits, decoded by plain operators.

    Args:
        graph: gets the nodes.
        indices: name of the indices.
        name: of the weight.
        table: its codes.
        levels: the same as integers.
    """
    data = graph.constant(levels.integers, "weight")
    rows = graph.node("Cast", graph.node("Gather", data, indices, axis=0), to=1)
    if levels.shift:
        rows = graph.node("Add", rows, graph.constant(np.float32(levels.shift), "shift"))
    scale = graph.node("Gather", graph.constant(levels.scale[:, None], "scale"), indices, axis=0)
    size = levels.integers.size
    stored = Stored(name, table.bits, "int8", "Gather", size, levels.scale.nbytes)
    return graph.node("Mul", rows, scale), stored
