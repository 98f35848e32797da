"""Target onnxruntime: bytes of the file that ``export format=onnx`` writes.

Weights, scales, biases and norms are counted as the export stores them. Nodes and names are counted
by an upper bound, so that a file is never larger than its count.
"""

from __future__ import annotations

from autoquant.artifact import manifest
from autoquant.costs.target import FLOAT, TARGETS, Target, size_cost
from autoquant.exports.onnx.levels import bits_in_onnx
from autoquant.exports.onnx.products import row_bytes
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import LayerChoice
from autoquant.quantization.codes import Grid
from autoquant.settings import Scheme

GRAPH, LAYER, DIRECTION, NORM = 1500, 480, 1350, 280
"""Bytes of nodes and metadata at most: of a graph, a layer, each direction of a recurrent layer
beside that, and a norm."""
NAMES = 12
"""How often the name of a layer is written in a file at most; in each direction of a recurrent
layer as often again."""


def layer_bytes(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Bytes of a layer in the ONNX file.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    parameters = sum(_parameter(parameter, layer, choice, scheme) for parameter in layer.parameters)
    return parameters + _nodes(layer)


def _nodes(layer: LayerSpec) -> int:
    """Bytes of a layer's nodes and names, at most."""
    directions = layer.directions if layer.recurrent else 0
    return LAYER + DIRECTION * directions + NAMES * len(layer.name) * (1 + directions)


def _parameter(
    parameter: ParameterSpec, layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> int:
    """Bytes of a parameter.

    Args:
        parameter: of the layer.
        layer: at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    if not parameter.is_weight:
        return FLOAT * parameter.count
    bits = scheme.bits_of(parameter.role, choice)
    if bits >= 16:
        return parameter.count * (2 if bits == 16 else FLOAT)
    rows = parameter.shape[0]
    stored = bits_in_onnx(bits, Grid.signed(bits, scheme.grid).offset)
    if stored == 8 or not layer.multiplies or len(parameter.shape) != 2:
        return -(-parameter.count * stored // 8) + FLOAT * rows
    return rows * row_bytes(parameter.shape[1], stored)


def outside(network: Network, resized: Network, scheme: Scheme) -> int:
    """Bytes of norms, uncovered tensors and the graph itself.

    Args:
        network: before widening; it has no effect here.
        resized: at a plan's widths.
        scheme: how numbers become codes; it has no effect here.
    """
    norms = sum(FLOAT * norm.count + NORM for norm in resized.norms)
    return GRAPH + norms + sum(entry.bytes for entry in manifest.uncovered_entries(resized))


SIZE = size_cost(layer_bytes, outside)
"""Bytes of the ONNX file of a plan, at most."""

ONNXRUNTIME = TARGETS.add(
    Target("onnxruntime", SIZE, weight_bits=(4, 8), activation_bits=(2, 3, 4, 5, 6, 7, 8))
)
"""ONNX Runtime: it stores weights in 4 and 8 bits; other bits would take as many bytes as these."""
