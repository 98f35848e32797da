"""The sizes of the full Deep Speech model: true bytes beside the paper's ways of counting."""

from __future__ import annotations

import torch

from autoquant.costs.size import size
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.tasks.speech.models import DeepSpeech
from studies.markdown import table_of

LINEAR = ("fc1", "fc2", "fc3", "fc5", "fc6")
GROWN = ("fc1", "fc2", "fc5")
"""Layers that the paper widens."""
NEURONS = {"fc1": 2048, "fc2": 2048, "fc3": 4096, "rnn.l0": 4096, "fc5": 2048, "fc6": 29}
"""Outputs of each layer; the LSTM's of both directions."""
BITS, WIDTHS = (8, 4), (1.0, 1.25, 1.5)
PAPER_SIZE = {(4, 1.5): "33%"}
PAPER_GROWTH = {(4, 1.25): "+0.6%", (4, 1.5): "+1.2%"}
PAPER_MEMORY = {8: "78.6%", 4: "71.5%"}


def full_size() -> Network:
    """The network of the model at the paper's widths, 122.7 million weights."""
    model = prepare(DeepSpeech(dropout=0.0).eval())
    return describe(model, (torch.randn(1, 2, 494), torch.tensor([2])))


def plan_of(network: Network, bits: int, width: float) -> Plan:
    """The paper's plan: bits for the linear layers, three of them wider, the LSTM in float.

    Args:
        network: of the model.
        bits: of the linear layers' weights.
        width: neuron multiplier of the layers that grow.
    """
    return Plan(
        {
            name: LayerChoice(
                weight_bits=bits if name in LINEAR else 32,
                activation_bits=32,
                width=width if name in GROWN else 1.0,
            )
            for name in network.names
        }
    )


def neuron_ratio(bits: int, width: float, *, grown_base: bool) -> float:
    """The paper's size: neurons times bits over those of the float model.

    Args:
        bits: of the linear layers.
        width: neuron multiplier of the layers that grow.
        grown_base: whether the float model that is divided by is widened as well.
    """
    wide = {name: count * (width if name in GROWN else 1) for name, count in NEURONS.items()}
    packed = sum(count * (bits / 32 if name in LINEAR else 1) for name, count in wide.items())
    return packed / sum((wide if grown_base else NEURONS).values())


def size_table() -> str:
    """Table 3's configurations: true bytes, and what the paper says of them."""
    network = full_size()
    full = int(size.of(network, Plan.uniform(network.names, LayerChoice(32, 32)), Scheme()))
    head = ["linear layers", "grown by", "true bytes", "share of float", "more than ungrown"]
    head += ["the paper", "by neurons, of the grown float model", "the paper"]
    rows = []
    for bits in BITS:
        base = int(size.of(network, plan_of(network, bits, 1.0), Scheme(bias_bits=bits)))
        for width in WIDTHS:
            own = int(size.of(network, plan_of(network, bits, width), Scheme(bias_bits=bits)))
            rows.append(
                [
                    *(
                        f"{bits} bits",
                        f"{width - 1:.0%}",
                        f"{own / 1e6:.1f} MB",
                        f"{own / full:.2%}",
                    ),
                    f"{own / base - 1:+.2%}",
                    PAPER_GROWTH.get((bits, width), "-"),
                    f"{neuron_ratio(bits, width, grown_base=True):.2%}",
                    PAPER_SIZE.get((bits, width), "-"),
                ]
            )
    return table_of(head, rows)


def memory_table() -> str:
    """Table 4's configurations: the activations of a time step, counted by neurons."""
    total, recurrent = sum(NEURONS.values()), NEURONS["rnn.l0"]
    rows = [
        [f"{bits} bits", f"{1 - recurrent / total * (1 - bits / 32):.2%}", PAPER_MEMORY[bits]]
        for bits in BITS
    ]
    rows.append(["0 bits", f"{1 - recurrent / total:.2%}", "-"])
    return table_of(["outputs of the LSTM", "of the float activations", "the paper"], rows)
