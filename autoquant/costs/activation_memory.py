"""Activation memory: bytes of what layers read at one position."""

from __future__ import annotations

from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme


@layer_cost("activation_memory", unit="bytes", fields=("activation_bits", "hidden_bits", "width"))
def activation_memory(
    network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> float:
    """Bytes of a layer's input and hidden states that are read for one position.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes; it has no effect here.
    """
    bits = layer.features * choice.activation_bits if layer.multiplies else 0
    if layer.recurrent:
        bits += layer.directions * layer.units * choice.state_bits
    return bits / 8
