"""The size ratio of the paper's tables, for comparison with true bytes."""

from __future__ import annotations

from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme


@layer_cost("paper_size_ratio", unit="x", fields=("weight_bits", "width"))
def paper_size_ratio(
    network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> float:
    """A layer's part of the paper's size over the float model's (Kapur et al. 2017, section 3).

    Each layer counts its bits over 32 times its width; layers are weighted by their parameters.
    This leaves out scales and header, and that widening a layer also enlarges the layers that read
    it; the cost "size" counts all of that.

    Args:
        network: the network before widening.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes; it has no effect here.
    """
    before = layer if layer.original is None else layer.resized(*layer.original)
    total = sum(each.count for each in network.layers)
    return before.count * choice.weight_bits / 32 * choice.width / total
