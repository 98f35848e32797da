"""Peak memory: bytes of the activations of the layer that needs most."""

from __future__ import annotations

from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.cost import layer_cost
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme

OUTPUT_BYTES = 4  # of an output: layers write float32, which the next layer quantizes


@layer_cost(
    "peak_memory",
    unit="bytes",
    fields=("activation_bits", "hidden_bits", "width"),
    combine="max",
)
def peak_memory(network: Network, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> float:
    """Bytes that exist while one layer runs for one position: the runtime memory of Kapur et al.

    These are its input at its activation bits (an embedding has none: it reads an index), its
    hidden states at their bits, and its outputs in float32, of all directions. The peak is that of
    the layer with most. Weights are not counted (they are the cost "size"), nor what lies between
    layers: inputs that a later layer still needs, the cells of an LSTM, work space of kernels.

    Args:
        network: the network before widening; it has no effect here.
        layer: of it, at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes; it has no effect here.
    """
    assert activation_memory.layers is not None
    read = activation_memory.layers.of_layer(network, layer, choice, scheme)
    return read + OUTPUT_BYTES * layer.directions * layer.units
