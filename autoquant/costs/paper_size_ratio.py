"""The size ratio of the paper's tables, for comparison with true bytes."""

from __future__ import annotations

from autoquant.costs.cost import cost
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


@cost("paper_size_ratio", unit="x", fields=("weight_bits", "width"))
def paper_size_ratio(network: Network, plan: Plan, scheme: Scheme) -> float:
    """The paper's size of a plan over the float model's (Kapur et al. 2017, section 3).

    Each layer counts its bits over 32 times its width; layers are weighted by their parameters.
    This leaves out scales and header, and that widening a layer also enlarges the layers that read
    it; the cost "size" counts all of that.

    Args:
        network: the network before widening.
        plan: bits and widths of its layers.
        scheme: how numbers become codes; it has no effect here.
    """
    total = sum(layer.count for layer in network.layers)
    ratio = sum(
        layer.count * plan[layer.name].weight_bits / 32 * plan[layer.name].width
        for layer in network.layers
    )
    return ratio / total
