"""PlanBytes: what each layer takes in the float model and in the packed file of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoquant.artifact.stored_space import StoredSpace
from autoquant.costs.study_costs import float_bytes, layer_bytes, scheme_of, size_cost_of
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
    cost, scheme = size_cost_of(config), scheme_of(config)
    if cost is None or scheme is None or {*network.names} != {*outcome.plan.choices}:
        return None
    if int(cost.of(network, outcome.plan, scheme)) != outcome.size_bytes:
        return None
    before = float_bytes(network, study.baseline())
    after = layer_bytes(network, outcome.plan, cost, scheme)
    total = LayerBytes(study.baseline().size_bytes, outcome.size_bytes)
    return PlanBytes({name: LayerBytes(before[name], after[name]) for name in network.names}, total)
