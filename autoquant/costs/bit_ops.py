"""Bit operations: multiply-accumulates times the bits of both factors."""

from __future__ import annotations

from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import WEIGHT_FIELDS, LayerChoice
from autoquant.settings import Scheme


@layer_cost(
    "bit_ops",
    unit="bit-operations",
    fields=(*WEIGHT_FIELDS, "activation_bits", "hidden_bits", "width"),
    products=(("weight_bits", "activation_bits"), ("recurrent_bits", "hidden_bits")),
)
def bit_ops(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Multiply-accumulates of a layer times the bits of both factors, for one position.

    Those of each weight are a whole number: 1.6 bits are rounded there.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes; it has no effect here.
    """
    if not layer.multiplies:
        return 0
    return sum(
        round(parameter.count * choice.bits_of(parameter.role) * _input_bits(parameter, choice))
        for parameter in layer.parameters
        if parameter.is_weight
    )


def _input_bits(parameter: ParameterSpec, choice: LayerChoice) -> int:
    """The bits of what a weight is multiplied with."""
    if parameter.role == "weight":
        return choice.activation_bits
    reads_units = any(axis.role == "hidden" for axis in parameter.axes)
    return choice.state_bits if reads_units else 32  # a projection reads an LSTM's c, in float
