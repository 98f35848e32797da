"""What counts the bytes of a study's plans; no code that the study names is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoquant.costs.cost import Cost
from autoquant.costs.size import size
from autoquant.costs.target import TARGETS
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import SCALES, Scheme, from_dict
from autoquant.study.baseline_record import BaselineRecord

FLOAT_BYTES = 4.0
"""Bytes of a float32; of a model of half precision a parameter has fewer."""


def size_cost_of(config: Mapping[str, Any]) -> Cost | None:
    """The cost that the budget of a study limits.

    Args:
        config: of the study.

    Returns:
        None for a target that is not known, or whose sizes are no sums over layers.
    """
    target = config.get("target")
    if target is None:
        return size
    cost = TARGETS[target].size if target in TARGETS else None
    return cost if cost is not None and cost.layers is not None else None


def scheme_of(config: Mapping[str, Any]) -> Scheme | None:
    """The scheme of a study; a rule for scales that it names is left out: it changes no bytes.

    Args:
        config: of the study.

    Returns:
        None where it names a format that is not known.
    """
    values = config.get("quantizer", {})
    if not isinstance(values, Mapping):
        return None
    known = {key: each for key, each in values.items() if key != "scale" or each in SCALES}
    try:
        return from_dict(Scheme, known, "quantizer.")
    except UserError:
        return None


def float_bytes(network: Network, baseline: BaselineRecord) -> dict[str, int]:
    """Bytes of each layer of the float model, whose weights may be of half precision.

    Args:
        network: of the float model.
        baseline: its record.
    """
    each = min(FLOAT_BYTES, baseline.size_bytes / max(1, baseline.parameters))
    return {layer.name: round(each * layer.count) for layer in network.layers}


def layer_bytes(network: Network, plan: Plan, cost: Cost, scheme: Scheme) -> dict[str, int]:
    """Bytes of each layer in the file of a plan.

    Args:
        network: before widening.
        plan: for its layers.
        cost: of ``size_cost_of``.
        scheme: how numbers become codes.
    """
    assert cost.layers is not None
    of_layer = cost.layers.of_layer
    return {
        layer.name: int(of_layer(network, layer, plan[layer.name], scheme))
        for layer in network.resized(plan).layers
    }
