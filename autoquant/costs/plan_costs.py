"""PlanCosts: every cost that is reported of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.macs import macs
from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.costs.size import size
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme


@dataclass(frozen=True)
class PlanCosts:
    """What a plan costs; operations and activations are for one position.

    Attributes:
        size_bytes: bytes of the packed file.
        activation_bytes: bytes of the inputs and hidden states that layers read.
        macs: multiply-accumulates.
        bit_ops: multiply-accumulates times the bits of both factors.
        paper_size_ratio: the paper's size over the float model's, for comparison.
    """

    size_bytes: int
    activation_bytes: float
    macs: int
    bit_ops: int
    paper_size_ratio: float


def costs_of(network: Network, plan: Plan, scheme: Scheme) -> PlanCosts:
    """Every reported cost of a plan.

    Args:
        network: the network before widening.
        plan: bits and widths of its layers.
        scheme: how numbers become codes.
    """
    return PlanCosts(
        int(size.of(network, plan, scheme)),
        activation_memory.of(network, plan, scheme),
        int(macs.of(network, plan, scheme)),
        int(bit_ops.of(network, plan, scheme)),
        round(paper_size_ratio.of(network, plan, scheme), 12),  # 0.125, not 0.1249999...
    )


def float_costs(network: Network) -> PlanCosts:
    """The costs of the float32 model; its size is that of its tensors, without a header.

    Args:
        network: the network before widening.
    """
    plan, scheme = Plan.uniform(network.names, LayerChoice()), Scheme()
    return PlanCosts(
        4 * network.parameters,
        activation_memory.of(network, plan, scheme),
        int(macs.of(network, plan, scheme)),
        int(bit_ops.of(network, plan, scheme)),
        1.0,
    )
