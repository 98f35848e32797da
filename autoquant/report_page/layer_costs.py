"""ModelCosts: bytes and operations of each layer, of the float model and of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.artifact.stored_space import StoredSpace
from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.cost import Cost
from autoquant.costs.macs import macs
from autoquant.costs.study_costs import float_bytes, layer_bytes, scheme_of, size_cost_of
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study


@dataclass(frozen=True)
class Costs:
    """What a layer, or a whole model, costs; operations are for one position.

    Attributes:
        size: bytes.
        macs: multiply-accumulates.
        bit_ops: multiply-accumulates times the bits of both factors.
    """

    size: int
    macs: int
    bit_ops: int


@dataclass(frozen=True)
class LayerChange:
    """A layer before and after.

    Attributes:
        name: of the layer; of what lies outside the layers a description.
        choice: of the plan; None outside the layers.
        before: of the float model.
        after: of the plan.
    """

    name: str
    choice: LayerChoice | None
    before: Costs
    after: Costs


@dataclass(frozen=True)
class ModelCosts:
    """All layers of a model before and after.

    Attributes:
        layers: in the order of the model.
        outside: header, norms and tensors that belong to no layer.
        total: the whole model.
        file: what the bytes after are of: "packed file", or the file for a target.
    """

    layers: tuple[LayerChange, ...]
    outside: LayerChange
    total: LayerChange
    file: str


@dataclass(frozen=True)
class CostCounter:
    """Counts what plans of a study cost, layer by layer.

    Attributes:
        network: before widening.
        scheme: how numbers become codes.
        size: the cost that the budget limits.
        baseline: the float model.
        file: what the bytes of a plan are of.
    """

    network: Network
    scheme: Scheme
    size: Cost
    baseline: BaselineRecord
    file: str

    @classmethod
    def of(cls, study: Study) -> CostCounter | None:
        """That of a study; None where its files do not tell what its plans cost.

        Args:
            study: of a search.

        Raises:
            UserError: the record, or the configuration, is not as it was written.
        """
        if not study.network_file.is_file():
            return None
        config = study.config()
        cost, scheme, target = size_cost_of(config), scheme_of(config), config.get("target")
        if cost is None or scheme is None:
            return None
        return cls(
            network=StoredSpace.read(study.network_file).network,
            scheme=scheme,
            size=cost,
            baseline=study.baseline(),
            file="packed file" if target is None else f"file for {target}",
        )

    def layer_bytes(self, plan: Plan) -> dict[str, int]:
        """Bytes of each layer.

        Args:
            plan: for the layers of the network.
        """
        return layer_bytes(self.network, plan, self.size, self.scheme)

    def of_plan(self, plan: Plan) -> ModelCosts:
        """The layers of the float model beside those of a plan.

        Args:
            plan: for the layers of the network.
        """
        before, after = self._before(), self._after(plan)
        layers = tuple(
            LayerChange(name, plan[name], before[name], after[name]) for name in self.network.names
        )
        float_total = _total([*before.values()], self.baseline.size_bytes)
        plan_total = _total([*after.values()], int(self.size.of(self.network, plan, self.scheme)))
        outside = [
            Costs(total.size - sum(cost.size for cost in costs.values()), 0, 0)
            for total, costs in ((float_total, before), (plan_total, after))
        ]
        name = "header, norms, other tensors"
        return ModelCosts(
            layers,
            LayerChange(name, None, *outside),
            LayerChange("whole model", None, float_total, plan_total),
            self.file,
        )

    def _before(self) -> dict[str, Costs]:
        """The layers of the float model."""
        plan = Plan.uniform(self.network.names, LayerChoice())
        operations = self._operations(self.network, plan)
        sizes = float_bytes(self.network, self.baseline)
        return {name: Costs(sizes[name], *operations[name]) for name in self.network.names}

    def _after(self, plan: Plan) -> dict[str, Costs]:
        """The layers of a plan."""
        resized = self.network.resized(plan)
        operations, sizes = self._operations(resized, plan), self.layer_bytes(plan)
        return {name: Costs(sizes[name], *operations[name]) for name in resized.names}

    def _operations(self, resized: Network, plan: Plan) -> dict[str, tuple[int, int]]:
        """MACs and bit operations of each layer.

        Args:
            resized: the network at the plan's widths.
            plan: for its layers.
        """
        assert macs.layers is not None
        assert bit_ops.layers is not None
        functions = (macs.layers.of_layer, bit_ops.layers.of_layer)
        counted = {}
        for layer in resized.layers:
            arguments = (self.network, layer, plan[layer.name], self.scheme)
            first, second = (int(function(*arguments)) for function in functions)
            counted[layer.name] = first, second
        return counted


def _total(costs: list[Costs], size_bytes: int) -> Costs:
    """The operations of all layers, and the size of the whole file."""
    return Costs(size_bytes, sum(cost.macs for cost in costs), sum(cost.bit_ops for cost in costs))
