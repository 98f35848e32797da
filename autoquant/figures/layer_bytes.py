"""PlanBytes: what each layer takes in the float model and in the packed file of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoquant.artifact.stored_space import StoredSpace
from autoquant.costs.cost import Cost
from autoquant.costs.size import size
from autoquant.costs.target import TARGETS
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import SCALES, Scheme, from_dict
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome


@dataclass(frozen=True)
class LayerBytes:
    """Bytes before and after.

    Attributes:
        before: in the float model.
        after: in the file of a plan.
    """

    before: int
    after: int

    def __add__(self, other: LayerBytes) -> LayerBytes:
        return LayerBytes(self.before + other.before, self.after + other.after)


NO_BYTES = LayerBytes(0, 0)


@dataclass(frozen=True)
class PlanBytes:
    """Bytes of all layers of a plan.

    Attributes:
        layers: by name, in the order of the model.
        total: of the float model's tensors, and of the whole file.
    """

    layers: Mapping[str, LayerBytes]
    total: LayerBytes

    @property
    def outside(self) -> LayerBytes:
        """What is of no layer: norms and other tensors, in the file its header.

        Before also the biases that a packed layer adds up: torch's LSTM has two of each.
        """
        inside = sum(self.layers.values(), NO_BYTES)
        return LayerBytes(self.total.before - inside.before, self.total.after - inside.after)


def plan_bytes(study: Study, outcome: Outcome) -> PlanBytes | None:
    """The bytes of a plan; None where the study's files do not tell them.

    Studies of earlier versions have no network. Where the layers do not add up to the size that was
    recorded, which another version has counted, nothing is known of them either.

    Args:
        study: of a search.
        outcome: whose plan it is.

    Raises:
        UserError: a file of the study is not what a search wrote.
    """
    if not study.network_file.is_file():
        return None
    network, config = StoredSpace.read(study.network_file).network, study.config()
    cost, scheme = _size_cost(config), _scheme(config)
    if cost is None or scheme is None or {*network.names} != {*outcome.plan.choices}:
        return None
    if int(cost.of(network, outcome.plan, scheme)) != outcome.size_bytes:
        return None
    before = _bytes_before(network, study.baseline())
    after = _bytes_after(network, outcome.plan, cost, scheme)
    total = LayerBytes(study.baseline().size_bytes, outcome.size_bytes)
    return PlanBytes({name: LayerBytes(before[name], after[name]) for name in network.names}, total)


def _bytes_before(network: Network, baseline: BaselineRecord) -> dict[str, int]:
    """Bytes of the layers of the float model, whose weights may be of half precision."""
    each = baseline.size_bytes / baseline.parameters
    return {layer.name: round(each * layer.count) for layer in network.layers}


def _bytes_after(network: Network, plan: Plan, cost: Cost, scheme: Scheme) -> dict[str, int]:
    """Bytes of the layers in the file.

    Args:
        network: before widening.
        plan: for its layers.
        cost: counts bytes, layer by layer.
        scheme: how numbers become codes.
    """
    assert cost.layers is not None
    of_layer = cost.layers.of_layer
    return {
        layer.name: int(of_layer(network, layer, plan[layer.name], scheme))
        for layer in network.resized(plan).layers
    }


def _size_cost(config: Mapping[str, Any]) -> Cost | None:
    """The cost that the budget limits; None for a target that is not known, or not by layers."""
    target = config.get("target")
    if target is None:
        return size
    cost = TARGETS[target].size if target in TARGETS else None
    return cost if cost is not None and cost.layers is not None else None


def _scheme(config: Mapping[str, Any]) -> Scheme | None:
    """The scheme of a study; None where it names a format that is not known.

    A rule for scales that the study names is not imported: it changes no bytes.
    """
    values = config.get("quantizer", {})
    if not isinstance(values, Mapping):
        return None
    known = {key: each for key, each in values.items() if key != "scale" or each in SCALES}
    try:
        return from_dict(Scheme, known, "quantizer.")
    except UserError:
        return None
