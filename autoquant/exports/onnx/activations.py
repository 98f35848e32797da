"""Activation quantizers as QuantizeLinear and DequantizeLinear.

All codes are uint8: ONNX Runtime turns signed ones into unsigned ones on most processors, and its
version 1.32 refuses some graphs when it does.
"""

from __future__ import annotations

import numpy as np

from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.weights import Activation

HALF_MAX = 65504.0
"""The largest number in half precision."""


def codes(graph: GraphBuilder, values: str, activation: Activation) -> str:
    """The integer codes of an activation, uint8; values beyond the grid are clipped.

    Args:
        graph: gets the nodes.
        values: name of the activation.
        activation: of at most 8 bits.
    """
    known, coded = graph.coded.get(values, (None, ""))
    if (
        known == activation
    ):  # rounding twice is once; ONNX Runtime's simplification of it is not exact
        return coded
    grid, scale = activation.grid, np.float32(activation.scale)
    whole = (grid.qmin, grid.qmax) in ((0, 255), (-128, 127))
    if not whole:  # the type has more codes than the grid
        low, high = (graph.constant(scale * np.float32(q), "limit") for q in (grid.qmin, grid.qmax))
        values = graph.node("Clip", values, low, high)
    return graph.node("QuantizeLinear", values, *_parameters(graph, activation))


def decoded(graph: GraphBuilder, coded: str, activation: Activation) -> str:
    """The values of codes.

    Args:
        graph: gets the nodes.
        coded: what ``codes`` returned.
        activation: the same as there.
    """
    values = graph.node("DequantizeLinear", coded, *_parameters(graph, activation))
    graph.coded[values] = activation, coded
    return values


def rounded(graph: GraphBuilder, values: str, activation: Activation | None) -> str:
    """An activation as it is after its quantizer.

    Args:
        graph: gets the nodes.
        values: name of the activation.
        activation: how it is rounded, or None.
    """
    if activation is None or graph.coded.get(values, (None,))[0] == activation:
        return values
    if activation.coded:
        return decoded(graph, codes(graph, values, activation), activation)
    if activation.bits <= 8:
        return _unclipped(graph, values, activation)
    low, high = (graph.constant(np.float32(sign * HALF_MAX), "limit") for sign in (-1, 1))
    half = graph.node("Cast", graph.node("Clip", values, low, high), to=10)  # FLOAT16
    return graph.node("Cast", half, to=1)  # FLOAT


def rounded_state(graph: GraphBuilder, values: str, activation: Activation | None) -> str:
    """A hidden state as it is after its quantizer.

    ONNX Runtime makes one rounding of two that follow one another, although their scales differ,
    and moves them through other operators for that. A hidden state may meet another quantizer: a
    Max that changes nothing keeps the two apart.

    Args:
        graph: gets the nodes.
        values: name of the state.
        activation: how it is rounded, or None.
    """
    result = rounded(graph, values, activation)
    if activation is None or not activation.coded or result == values:
        return result
    lowest = np.float32(activation.grid.qmin) * np.float32(activation.scale)
    apart = graph.node("Max", result, graph.constant(lowest, "lowest"))
    graph.coded[apart] = graph.coded[result]
    return apart


def _unclipped(graph: GraphBuilder, values: str, activation: Activation) -> str:
    """Multiples of a scale, as many as there are.

    Args:
        graph: gets the nodes.
        values: name of the activation.
        activation: whose scheme does not clip.
    """
    scale = graph.constant(np.float32(activation.scale), "scale")
    return graph.node("Mul", graph.node("Round", graph.node("Div", values, scale)), scale)


def zero_point(graph: GraphBuilder, activation: Activation) -> str:
    """The unsigned code of zero.

    Args:
        graph: gets the constant.
        activation: of at most 8 bits.
    """
    return graph.constant(np.uint8(128 if activation.grid.qmin < 0 else 0), "zero_point")


def _parameters(graph: GraphBuilder, activation: Activation) -> tuple[str, str]:
    scale = graph.constant(np.float32(activation.scale), "scale")
    return scale, zero_point(graph, activation)
