"""MACs: multiply-accumulates."""

from __future__ import annotations

from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme


@layer_cost("macs", unit="MACs", fields=("width",))
def macs(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Multiply-accumulates of a layer for one position (a token, a frame, a sample).

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer; it has no effect here.
        scheme: how numbers become codes; it has no effect here.
    """
    return layer.macs()
