"""Tables whose rows are looked up; they stay packed in memory."""

from __future__ import annotations

import numpy as np

from autoquant.export.layers import TableLayer
from autoquant.export.onnx.graph import CONTRIB, GraphBuilder
from autoquant.export.onnx.levels import Levels, levels_of, packed
from autoquant.export.onnx.stored import Stored
from autoquant.export.weights import CodedWeight, FloatWeight

LEAST_BLOCK = 16


def lookup(graph: GraphBuilder, indices: str, layer: TableLayer) -> tuple[str, Stored]:
    """Look up rows.

    Args:
        graph: gets the nodes.
        indices: name of the indices [...].
        layer: the table.

    Returns:
        the name of the rows [..., units], and what was stored.
    """
    name, table = f"{layer.name}.weight", layer.table
    if isinstance(table, FloatWeight):
        vectors, stored = _float(graph, indices, name, table)
    else:
        vectors, stored = _coded(graph, indices, name, table)
    for row in layer.zero_rows:
        is_row = graph.node("Equal", indices, graph.constant(np.int64(row), "row"))
        is_row = graph.node("Unsqueeze", is_row, graph.constant([-1], "axes", np.int64))
        vectors = graph.node("Where", is_row, graph.constant(np.float32(0), "zero"), vectors)
    return vectors, stored


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


def _coded(graph: GraphBuilder, indices: str, name: str, table: CodedWeight) -> tuple[str, Stored]:
    """Rows of a packed table.

    Args:
        graph: gets the nodes.
        indices: name of the indices.
        name: of the weight.
        table: its codes.
    """
    levels = levels_of(table)
    units = table.shape[1]
    if levels.shift or units % 2:
        return _by_rows(graph, indices, name, table, levels)
    block = max(LEAST_BLOCK, 1 << (units - 1).bit_length())  # a row has one scale
    if levels.bits == 8:
        data = graph.constant(packed(levels.integers, 8), "weight")
    else:
        data = graph.integers(levels.integers, levels.bits, "weight")
    scale = graph.constant(levels.scale[:, None], "scale")
    options = {"bits": levels.bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    rows = graph.node("GatherBlockQuantized", data, indices, scale, domain=CONTRIB, **options)
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
