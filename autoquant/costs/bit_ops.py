"""Bit operations: multiply-accumulates times the bits of both factors."""

from __future__ import annotations

from autoquant.costs.cost import cost
from autoquant.graph.network import Network
from autoquant.layers import ParameterSpec
from autoquant.plan import WEIGHT_FIELDS, LayerChoice, Plan
from autoquant.settings import Scheme


@cost(
    "bit_ops",
    unit="bit-operations",
    fields=(*WEIGHT_FIELDS, "activation_bits", "hidden_bits", "width"),
)
def bit_ops(network: Network, plan: Plan, scheme: Scheme) -> int:
    """Multiply-accumulates times the bits of both factors, for one position.

    Args:
        network: the network before widening.
        plan: bits and widths of its layers.
        scheme: how numbers become codes; it has no effect here.
    """
    total: float = 0
    for layer in network.resized(plan).layers:
        if not layer.multiplies:
            continue
        choice = plan[layer.name]
        for parameter in layer.parameters:
            if parameter.is_weight:
                bits = choice.bits_of(parameter.role) * _input_bits(parameter, choice)
                total += parameter.count * bits
    return round(total)


def _input_bits(parameter: ParameterSpec, choice: LayerChoice) -> int:
    """The bits of what a weight is multiplied with."""
    if parameter.role == "weight":
        return choice.activation_bits
    reads_units = any(axis.role == "hidden" for axis in parameter.axes)
    return choice.state_bits if reads_units else 32  # a projection reads an LSTM's c, in float
