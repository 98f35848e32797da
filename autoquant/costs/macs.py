"""MACs: multiply-accumulates."""

from __future__ import annotations

from autoquant.costs.cost import cost
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


@cost("macs", unit="MACs", fields=("width",))
def macs(network: Network, plan: Plan, scheme: Scheme) -> int:
    """Multiply-accumulates for one position (a token, a frame, a sample) at the plan's widths.

    Args:
        network: the network before widening.
        plan: widths of its layers; bits have no effect here.
        scheme: how numbers become codes; it has no effect here.
    """
    return sum(layer.macs() for layer in network.resized(plan).layers)
