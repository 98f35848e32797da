"""Activation memory: bytes of what layers read at one position."""

from __future__ import annotations

from autoquant.costs.cost import cost
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


@cost("activation_memory", unit="bytes", fields=("activation_bits", "hidden_bits", "width"))
def activation_memory(network: Network, plan: Plan, scheme: Scheme) -> float:
    """Bytes of the layer inputs and hidden states that are read for one position.

    Args:
        network: the network before widening.
        plan: bits and widths of its layers.
        scheme: how numbers become codes; it has no effect here.
    """
    bits = 0
    for layer in network.resized(plan).layers:
        choice = plan[layer.name]
        if layer.multiplies:
            bits += layer.features * choice.activation_bits
        if layer.recurrent:
            bits += layer.directions * layer.units * choice.state_bits
    return bits / 8
