"""Size: bytes of the packed file."""

from __future__ import annotations

from autoquant.artifact.manifest import size_bytes
from autoquant.costs.cost import cost
from autoquant.graph.network import Network
from autoquant.plan import WEIGHT_FIELDS, Plan
from autoquant.settings import Scheme


@cost("size", unit="bytes", fields=(*WEIGHT_FIELDS, "width"))
def size(network: Network, plan: Plan, scheme: Scheme) -> int:
    """Bytes of the packed file, header included, which is of one length for all plans.

    Args:
        network: the network before widening.
        plan: bits and widths of its layers.
        scheme: how numbers become codes.
    """
    return size_bytes(network, plan, scheme)
