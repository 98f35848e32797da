"""Size: bytes of the packed file."""

from __future__ import annotations

from autoquant.artifact import manifest
from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import WEIGHT_FIELDS, LayerChoice
from autoquant.settings import Scheme


@layer_cost(
    "size", unit="bytes", fields=(*WEIGHT_FIELDS, "width"), constant=manifest.bytes_outside_layers
)
def size(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> int:
    """Bytes of a layer in the packed file; header, norms and uncovered tensors are the constant.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    return manifest.layer_bytes(layer, choice, scheme)
