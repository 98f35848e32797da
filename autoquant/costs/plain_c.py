"""Target c: bytes of the constants (flash) of the program that ``export format=c`` writes."""

from __future__ import annotations

import math

from autoquant.artifact import manifest
from autoquant.costs.target import FLOAT, TARGETS, Target, size_cost
from autoquant.exports.c.code_rows import PADDING
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import TERNARY, LayerChoice
from autoquant.quantization.bitpacking import packed_bytes
from autoquant.settings import Scheme


def layer_bytes(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Bytes of a layer's constants.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    return sum(_parameter(parameter, choice, scheme) for parameter in layer.parameters)


def _parameter(parameter: ParameterSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Bytes of a parameter: rows of codes from whole bytes on, and float32 scales and biases.

    Args:
        parameter: of a layer.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    if not parameter.is_weight:
        return FLOAT * parameter.count
    bits = scheme.bits_of(parameter.role, choice)
    if bits >= 16:
        return parameter.count * (2 if bits == 16 else FLOAT)
    rows, columns = parameter.shape[0], math.prod(parameter.shape[1:])
    scales = rows if scheme.granularity == "channel" else 1
    return rows * packed_bytes(columns, bits) + PADDING + FLOAT * scales


def outside(network: Network, resized: Network, scheme: Scheme) -> int:
    """Bytes of norms and uncovered tensors.

    Args:
        network: before widening; it has no effect here.
        resized: at a plan's widths.
        scheme: how numbers become codes; it has no effect here.
    """
    norms = sum(FLOAT * norm.count for norm in resized.norms)
    return norms + sum(entry.bytes for entry in manifest.uncovered_entries(resized))


SIZE = size_cost(layer_bytes, outside)
"""Bytes of the constants of a plan's C program, at most: equal arrays are stored once."""

PLAIN_C = TARGETS.add(
    Target(
        "c",
        SIZE,
        weight_bits=(1, TERNARY, 2, 3, 4, 5, 6, 7, 8),
        activation_bits=(2, 3, 4, 5, 6, 7, 8),
    )
)
"""Plain C: it stores weights at their own bits."""
