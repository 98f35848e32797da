"""Profile: which layers are large, what growing each would cost, which ones may grow and why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.layers import LayerSpec
from autoquant.settings import Widening
from autoquant.task import Example, Task
from autoquant.training.baseline import float_model

GROWTHS = (1.25, 1.5, 2.0)
REFERENCE_GROWTH = 1.5  # the growth at which the rule looks at the cost
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Growth:
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
        growth: the cost of growing it; empty where it cannot grow at all.
        widenable: whether the rule lets the search widen it.
        reason: why, or why not, in words.
    """

    name: str
    kind: str
    shape: str
    parameters: int
    share: float
    macs: int
    growth: tuple[Growth, ...]
    widenable: bool
    reason: str


@dataclass(frozen=True)
class Profile:
    """All layers, largest share first."""

    layers: tuple[LayerProfile, ...]
    parameters: int
    unit: str
    """What MACs are counted for: "token", "sample", ..."""

    def __getitem__(self, name: str) -> LayerProfile:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def widenable(self) -> tuple[str, ...]:
        """Names of the layers that the search may widen."""
        return tuple(layer.name for layer in self.layers if layer.widenable)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def profile(task: Task, rule: Widening | None = None) -> Profile:
    """Profile a task's float model; nothing is trained.

    Args:
        rule: thresholds of the rule that picks widenable layers; default thresholds when None.

    Raises:
        UserError: the model has no layer that autoquant knows.
    """
    model, example = prepare(float_model(task)), task.example()
    return profile_model(model, describe(model, example.inputs), example, rule or Widening())


def profile_model(model: nn.Module, network: Network, example: Example, rule: Widening) -> Profile:
    """Profile a prepared model, whose network is known."""
    positions = _positions(model, network, example)
    layers = [
        _profile_layer(layer, network, rule, positions[layer.name] / example.units)
        for layer in network.layers
    ]
    layers.sort(key=lambda layer: -layer.share)
    return Profile(tuple(layers), network.parameters, example.unit)


def judge(layer: LayerSpec, growth: tuple[Growth, ...], network: Network, rule: Widening) -> str:
    """The rule that picks widenable layers: an empty string, or why not, in words.

    Growth is for small layers, never the largest (Kapur et al., section 2). A layer may grow when
    its units can be followed, its share of the parameters is at most ``rule.max_share``, and
    growing it by half adds at most ``rule.max_growth`` to the model: the cost counts its readers'
    columns, which is what sets apart layers of equal share.
    """
    fixed = network.why_fixed(layer.name)
    if fixed is not None:
        return fixed
    share = layer.count / network.parameters
    if share > rule.max_share:
        return f"holds {share:.1%} of the parameters, above widening.max_share={rule.max_share:g}"
    cost = next(each.added_share for each in growth if each.width == REFERENCE_GROWTH)
    if cost > rule.max_growth:
        return (
            f"x{REFERENCE_GROWTH:g} would add {cost:.1%} to the model, "
            f"above widening.max_growth={rule.max_growth:g}"
        )
    return ""


def growth_of(layer: LayerSpec, network: Network) -> tuple[Growth, ...]:
    """The cost of each growth in GROWTHS, counted on the grown network."""
    if network.why_fixed(layer.name) is not None:
        return ()
    costs = []
    for width in GROWTHS:
        plan = network.at_widths({network.groups[layer.name]: width})
        added = network.resized(plan).parameters - network.parameters
        costs.append(Growth(width, added * FLOAT_BYTES, added / network.parameters))
    return tuple(costs)


def _profile_layer(
    layer: LayerSpec, network: Network, rule: Widening, positions: float
) -> LayerProfile:
    growth = growth_of(layer, network)
    objection = judge(layer, growth, network, rule)
    return LayerProfile(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        parameters=layer.count,
        share=layer.count / network.parameters,
        macs=round(layer.macs() * positions),
        growth=growth,
        widenable=not objection,
        reason=objection or "small, and cheap to grow",
    )


@torch.no_grad()
def _positions(model: nn.Module, network: Network, example: Example) -> dict[str, int]:
    """At how many positions each layer is evaluated in one forward pass of the example."""
    counts = dict.fromkeys(network.names, 0)

    def count(layer: LayerSpec, module: nn.Module, args: Any, output: Any) -> None:
        values: Tensor = output if isinstance(output, Tensor) else output[0]
        counts[layer.name] += values.numel() // (layer.units * layer.directions)

    handles = [
        model.get_submodule(layer.name).register_forward_hook(partial(count, layer))
        for layer in network.layers
    ]
    model.eval()(*example.inputs)
    for handle in handles:
        handle.remove()
    return counts
