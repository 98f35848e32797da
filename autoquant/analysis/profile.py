"""Profile: which layers are large, what growing each would cost, which ones may grow and why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.analysis.coverage import FLOAT_BYTES, Coverage, coverage_of
from autoquant.budget import readable
from autoquant.graph.equivalence import ExampleRun, has_forward
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plain_values import plain_values
from autoquant.settings import Widening
from autoquant.table import Column, Table, Tabular
from autoquant.task import Example

PROFILED_WIDTHS = (1.25, 1.5, 2.0)
"""Neuron multipliers whose cost is listed for each layer."""
REFERENCE_WIDTH = 1.5
"""The one of PROFILED_WIDTHS whose cost must be at most ``widening.max_growth``."""
WIDENABLE_REASON = "small, and cheap to grow"


@dataclass(frozen=True)
class GrowthCost:
    """What growing a layer costs.

    Attributes:
        width: the neuron multiplier.
        added_bytes: float32 bytes added to the whole model: the layer's own rows and the columns of
            every layer that reads them.
        added_share: the same over the bytes of the whole model.
    """

    width: float
    added_bytes: int
    added_share: float


@dataclass(frozen=True)
class LayerProfile:
    """One layer of a float model.

    Attributes:
        name: its name in the model.
        kind: "linear", "embedding", "lstm", "gru", ...
        shape: input and output sizes, for people.
        parameters: number of weights and biases.
        share: parameters over those of the whole model.
        macs: multiply-accumulates for one unit (token, frame, sample) of the task.
        growth: the cost of growing it, for each of PROFILED_WIDTHS; empty where it cannot grow at
            all.
        widenable: whether the search may widen it.
        reason: why, or why not, in words.
    """

    name: str
    kind: str
    shape: str
    parameters: int
    share: float
    macs: int
    growth: tuple[GrowthCost, ...]
    widenable: bool
    reason: str


@dataclass(frozen=True)
class Profile(Tabular):
    """All layers of a float model.

    Attributes:
        layers: largest share first.
        parameters: of the whole model, layers that autoquant does not know included.
        unit: what MACs are counted for: "token", "sample", ...
        coverage: what of the model a plan chooses bits for, and what stays in float.
    """

    layers: tuple[LayerProfile, ...]
    parameters: int
    unit: str
    coverage: Coverage

    def __getitem__(self, name: str) -> LayerProfile:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def widenable(self) -> tuple[str, ...]:
        """Names of the layers that the search may widen."""
        return tuple(layer.name for layer in self.layers if layer.widenable)

    @property
    def tables(self) -> tuple[Table, Table]:
        """The layers' sizes, and which of them may grow and why."""
        return _size_table(self), _growth_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant profile --json`` writes them."""
        return dict(plain_values(self))

    def to_json(self) -> str:
        """The text of a study's ``profile.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"


def profile_model(
    model: nn.Module, network: Network, example: Example, widening: Widening
) -> Profile:
    """Profile a prepared model whose network is known.

    Args:
        model: the prepared float model; one forward pass is run in eval mode.
        network: its layers.
        example: inputs of the forward pass, and the units that MACs are counted for.
        widening: thresholds that decide which layers may be widened.
    """
    positions = _count_positions(model, network, example)
    layers = [
        _profile_layer(layer, network, widening, positions[layer.name] / example.units)
        for layer in network.layers
    ]
    layers.sort(key=lambda layer: -layer.share)
    coverage = coverage_of(model, network)
    return Profile(tuple(layers), network.parameters, example.unit, coverage)


def why_not_widenable(
    layer: LayerSpec, growth: tuple[GrowthCost, ...], network: Network, widening: Widening
) -> str:
    """Why the search may not widen a layer, or an empty string where it may.

    Small layers may be widened, never the largest (Kapur et al., section 2). A layer may be widened
    when its units can be traced through the model, its share of the parameters is at most
    ``widening.max_share``, and growing it to REFERENCE_WIDTH adds at most ``widening.max_growth``
    to the model. That cost counts the columns of the layers that read its units, so layers of equal
    share can differ in it.

    Args:
        layer: the layer.
        growth: its growth costs.
        network: the network that it belongs to.
        widening: the thresholds.
    """
    fixed = network.why_fixed(layer.name)
    if fixed is not None:
        return fixed
    share = layer.count / network.parameters
    if share > widening.max_share:
        threshold = f"widening.max_share={widening.max_share:g}"
        return f"holds {share:.1%} of the parameters, above {threshold}"
    added = next(cost.added_share for cost in growth if cost.width == REFERENCE_WIDTH)
    if added > widening.max_growth:
        return (
            f"x{REFERENCE_WIDTH:g} would add {added:.1%} to the model, "
            f"above widening.max_growth={widening.max_growth:g}"
        )
    return ""


def growth_costs(layer: LayerSpec, network: Network) -> tuple[GrowthCost, ...]:
    """What growing a layer costs, counted on the grown network.

    Args:
        layer: the layer; layers whose width is tied to its width grow with it.
        network: the network that it belongs to.

    Returns:
        a cost for each of PROFILED_WIDTHS; none where the layer cannot grow.
    """
    if network.why_fixed(layer.name) is not None:
        return ()
    costs = []
    for width in PROFILED_WIDTHS:
        plan = network.at_widths({network.groups[layer.name]: width})
        added = network.resized(plan).parameters - network.parameters
        costs.append(GrowthCost(width, added * FLOAT_BYTES, added / network.parameters))
    return tuple(costs)


def _profile_layer(
    layer: LayerSpec, network: Network, widening: Widening, positions: float
) -> LayerProfile:
    """The profile of one layer.

    Args:
        layer: the layer.
        network: the network that it belongs to.
        widening: thresholds that decide whether it may be widened.
        positions: how often it is evaluated for one unit of the task.
    """
    growth = growth_costs(layer, network)
    objection = why_not_widenable(layer, growth, network, widening)
    return LayerProfile(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        parameters=layer.count,
        share=layer.count / network.parameters,
        macs=round(layer.macs() * positions),
        growth=growth,
        widenable=not objection,
        reason=objection or WIDENABLE_REASON,
    )


def _size_table(profile: Profile) -> Table:
    """A row for each layer: its share, its operations, and what growing it would cost."""
    headings = ("parameters", "share", f"MACs/{profile.unit}")
    widths = [f"x{width:g}" for width in PROFILED_WIDTHS]
    coverage = str(profile.coverage)
    return Table(
        f"{profile.parameters:,} parameters, largest layers first",
        (Column("layer", "left"), *map(Column, (*headings, *widths))),
        tuple(_size_row(layer) for layer in profile.layers),
        (
            f"{', '.join(widths)}: float bytes that widening adds to the layer and to those that "
            "read it",
            f"{coverage[:1].upper()}{coverage[1:]}",
        ),
    )


def _size_row(layer: LayerProfile) -> tuple[str, ...]:
    growth = [f"+{readable(cost.added_bytes)}" for cost in layer.growth]
    growth = growth or ["-"] * len(PROFILED_WIDTHS)
    return (
        layer.name,
        f"{layer.parameters:,}",
        f"{layer.share:.1%}",
        f"{layer.macs:,}",
        *growth,
    )


def _growth_table(profile: Profile) -> Table:
    """A row for each layer: whether the search may widen it, and the reason."""
    headings = ("layer", "kind", "shape", "width", "reason")
    rows = (
        (
            layer.name,
            layer.kind,
            layer.shape,
            "may grow" if layer.widenable else "stays",
            layer.reason,
        )
        for layer in profile.layers
    )
    columns = tuple(Column(heading, "left") for heading in headings)
    return Table("layers that may grow, and those that stay", columns, tuple(rows))


@torch.no_grad()
def _count_positions(model: nn.Module, network: Network, example: Example) -> dict[str, int]:
    """At how many positions each layer is evaluated in one forward pass; 0 without a forward.

    Args:
        model: the prepared model.
        network: its layers.
        example: inputs of the forward pass.
    """
    counts = dict.fromkeys(network.names, 0)
    if not has_forward(model):
        return counts

    def count(layer: LayerSpec, module: nn.Module, args: Any, output: Any) -> None:
        """Add the positions of one call.

        Args:
            layer: that was called.
            module: its module; unused.
            args: of the call; unused.
            output: of the call, a tensor or a tuple that begins with one.
        """
        values: Tensor = output if isinstance(output, Tensor) else output[0]
        counts[layer.name] += values.numel() // (layer.units * layer.directions)

    handles = [
        model.get_submodule(layer.name).register_forward_hook(partial(count, layer))
        for layer in network.layers
    ]
    inputs, keywords = ExampleRun(example.inputs, example.keywords).copies(model)
    model.eval()(*inputs, **keywords)
    for handle in handles:
        handle.remove()
    return counts
