"""ONNX's own LSTM, GRU and RNN, for layers whose hidden state is not quantized.

They read float weights, which DequantizeLinear decodes in every run: good for sequences, slow for
single steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.exports.layers import Direction, RecurrentLayerValues
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.levels import Levels, levels_of
from autoquant.exports.stored import Stored
from autoquant.exports.weights import FloatWeight, Weight
from autoquant.kernels import Cell
from autoquant.layers.recurrent import SUFFIXES

ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
"""Our gates in ONNX's order: i, o, f, c of an LSTM; z, r, h of a GRU."""


def suits_operator(cell: Cell, layer: RecurrentLayerValues) -> bool:
    """Whether one of ONNX's operators computes a layer.

    Args:
        cell: of the layer.
        layer: the layer.
    """
    projected = any(direction.projection is not None for direction in layer.directions)
    return layer.hidden is None and cell.candidate == "tanh" and not projected


def recurrent_operator(
    graph: GraphBuilder,
    cell: Cell,
    layer: RecurrentLayerValues,
    inputs: str,
    states: list[list[str]],
) -> tuple[str, list[list[str]], list[Stored]]:
    """Add an LSTM, GRU or RNN.

    Args:
        graph: gets the nodes.
        cell: of the layer.
        layer: the layer; ``suits_operator`` must hold.
        inputs: name of [T, B, I], rounded.
        states: of each direction, its parts [B, H].

    Returns:
        the names of the outputs [T, B, D*H] and of the last state of each direction, and what was
        stored.
    """
    order, directions = ORDER[cell.kind], layer.directions
    kind = "RNN" if cell.kind.startswith("rnn") else cell.kind.upper()
    names = [f"{layer.name}.weight_{part}{SUFFIXES[0]}" for part in ("ih", "hh")]
    inside = [[_ordered(d.input, order) for d in directions]]
    inside += [[_ordered(d.recurrent, order) for d in directions]]
    weights, stored = [], []
    for name, parts, first in zip(
        names, inside, (directions[0].input, directions[0].recurrent), strict=True
    ):
        node, kept = _weight(graph, name, parts, first)
        weights.append(node)
        stored.append(kept)
    bias = graph.constant(
        np.stack([_bias(d, cell, order, layer.cells) for d in directions]), "bias"
    )
    initial = [_stacked(graph, [state[k] for state in states]) for k in range(len(states[0]))]
    options: dict[str, Any] = {"hidden_size": layer.cells}
    options |= {"direction": "bidirectional"} if len(directions) > 1 else {}
    options |= {"linear_before_reset": 1} if cell.kind == "gru" else {}
    if cell.kind == "rnn_relu":
        options["activations"] = ["Relu"] * len(directions)
    outputs, *last = graph.nodes_of(
        kind, inputs, *weights, bias, "", *initial, outputs=1 + len(initial), **options
    )
    outputs = graph.node("Transpose", outputs, perm=[0, 2, 1, 3])  # [T, B, D, H]
    shape = graph.constant([0, 0, -1], "shape", np.int64)
    ends = [[_row(graph, part, i) for part in last] for i in range(len(directions))]
    return graph.node("Reshape", outputs, shape), ends, stored


def _row(graph: GraphBuilder, part: str, index: int) -> str:
    """One direction's part of a state.

    Args:
        graph: gets the node.
        part: name of [D, B, H].
        index: of the direction.
    """
    return graph.node("Gather", part, graph.constant(np.int64(index), "row"), axis=0)


def _stacked(graph: GraphBuilder, parts: list[str]) -> str:
    axes = graph.constant([0], "axes", np.int64)
    rows = [graph.node("Unsqueeze", part, axes) for part in parts]
    return rows[0] if len(rows) == 1 else graph.node("Concat", *rows, axis=0)


def _ordered(weight: Weight, order: tuple[int, ...]) -> Weight | Levels:
    """A weight with its gates in ONNX's order: float values, or integers.

    Args:
        weight: [G*H, ...].
        order: our gates in ONNX's order.
    """
    if isinstance(weight, FloatWeight):
        return FloatWeight(_gates(weight.array, order), weight.bits)
    levels = levels_of(weight)
    if levels.shift:
        return FloatWeight(_gates(weight.values(), order), 32)
    return Levels(_gates(levels.integers, order), _gates(levels.scale, order), levels.bits)


def _gates(array: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    parts = array.reshape(len(order), -1, *array.shape[1:])
    return np.ascontiguousarray(parts[list(order)].reshape(array.shape))


def _weight(graph: GraphBuilder, name: str, parts: list[Any], weight: Weight) -> tuple[str, Stored]:
    """The weight of all directions, [D, G*H, columns], decoded.

    Args:
        graph: gets the nodes.
        name: of the weight in the model.
        parts: of each direction.
        weight: of the first direction, for its bits.
    """
    if any(isinstance(part, FloatWeight) for part in parts):
        array = np.stack([part.values() for part in parts])
        return graph.constant(array, "weight"), Stored(
            name, weight.bits, "float32", "recurrent operator", array.nbytes
        )
    bits = max(part.bits for part in parts)
    integers = np.stack([part.integers for part in parts])
    scale = np.stack([part.scale for part in parts])
    # one axis of scales: rows of all directions, so that directions become rows
    flat = integers.reshape(-1, integers.shape[2])
    coded = graph.integers(flat, bits, "weight")
    rows = graph.node("DequantizeLinear", coded, graph.constant(scale.reshape(-1), "scale"), axis=0)
    shape = graph.constant(integers.shape, "shape", np.int64)
    size = -(-integers.size * bits // 8)
    stored = Stored(name, weight.bits, f"int{bits}", "DequantizeLinear", size, scale.nbytes)
    return graph.node("Reshape", rows, shape), stored


def _bias(direction: Direction, cell: Cell, order: tuple[int, ...], cells: int) -> NDArray[Any]:
    """Both biases of one direction, [2*G*H].

    Args:
        direction: its weights.
        cell: of the layer.
        order: our gates in ONNX's order.
        cells: H.
    """
    count = cell.gates * cells
    first = np.zeros(count, np.float32) if direction.bias is None else direction.bias
    second = np.zeros(count, np.float32)
    if direction.candidate_bias is not None:
        second[-cells:] = direction.candidate_bias
    return np.concatenate([_gates(first, order), _gates(second, order)])
