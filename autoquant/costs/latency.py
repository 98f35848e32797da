"""Latency: seconds of all layers, one after the other, for one position."""

from __future__ import annotations

from autoquant.costs.cost import layer_cost
from autoquant.costs.latency_table import LATENCIES
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import WEIGHT_FIELDS, LayerChoice
from autoquant.settings import Scheme

FIELDS = (*WEIGHT_FIELDS, "activation_bits", "hidden_bits")


@layer_cost("latency", unit="seconds", fields=(*FIELDS, "width"), products=(FIELDS,))
def latency(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> float:
    """Seconds of a layer for one position, as its packed kernels take on this machine.

    Measured on one thread, once for each shape and number of bits (costs.layer_timing); what lies
    between layers is not counted. A time is not exact: it varies by a few percent, and more bits
    may be faster.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    return LATENCIES.of(layer, choice, scheme)
