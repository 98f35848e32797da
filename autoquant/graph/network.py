"""Network: a model's layers and how their widths hang together, as values without tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from autoquant.errors import UserError
from autoquant.layers import LayerSpec, grown_units
from autoquant.plan import LayerChoice, Plan


@dataclass(frozen=True)
class Segment:
    """A stretch of an axis: the units of one group of layers, or of none.

    Attributes:
        group: whose width it has; None where it never changes.
        size: how many units it holds. A unit is the least that can be duplicated: a neuron, a
            channel, or a whole attention head.
        run: entries of the axis that each unit takes, one after the other (an attention head's
            size, or the pixels of a flattened channel).
        part: which of a group's sets of units, where it has several.
    """

    group: str | None
    size: int
    run: int = 1
    part: int = 0

    @property
    def entries(self) -> int:
        return self.size * self.run


Layout = tuple[Segment, ...]


def entries_of(layout: Layout) -> int:
    """How long an axis of this layout is."""
    return sum(segment.entries for segment in layout)


@dataclass(frozen=True)
class UnquantizedTensor:
    """A tensor of the model that belongs to no known layer; it is stored as it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A model's layers and how their widths hang together. Values only; no tensors.

    Attributes:
        layers: every layer that a plan chooses for, in the order of the model.
        norms: layers that have no width of their own and keep their precision; each follows the
            units that it is given.
        inputs: the layout of each layer's input features.
        outputs: the layout of each layer's output units (of one direction), and of each norm's.
        groups: the group of each layer: layers of a group have one width. A group has the name of
            its first layer.
        frozen: groups that cannot grow, and why.
        unquantized: tensors outside the known layers.
        dropouts: the probability of the dropout right before a layer's input, where there is one.
    """

    layers: tuple[LayerSpec, ...]
    norms: tuple[LayerSpec, ...]
    inputs: Mapping[str, Layout]
    outputs: Mapping[str, Layout]
    groups: Mapping[str, str]
    frozen: Mapping[str, str]
    unquantized: tuple[UnquantizedTensor, ...]
    dropouts: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def known(self) -> tuple[LayerSpec, ...]:
        """Layers and norms."""
        return (*self.layers, *self.norms)

    @property
    def parameters(self) -> int:
        """Number of weights and biases, of layers that autoquant does not know too.

        A weight that several layers share counts once.
        """
        return sum(layer.count for layer in self.known) + sum(
            math.prod(each.shape) for each in self.unquantized
        )

    def members(self, group: str) -> tuple[str, ...]:
        """Layers whose units belong to a group."""
        return tuple(name for name in self.names if self.groups[name] == group)

    @cached_property
    def shares(self) -> Mapping[str, str]:
        """Layers whose weight is another layer's too, and that layer."""
        return {
            layer.name: parameter.shared.rpartition(".")[0]
            for layer in self.layers
            for parameter in layer.parameters
            if parameter.shared and parameter.is_weight
        }

    def why_fixed(self, layer: str) -> str | None:
        """Why a layer cannot grow, or None where it can."""
        return self.frozen.get(self.groups[layer])

    def resized(self, plan: Plan) -> Network:
        """The same network at the widths of a plan.

        Raises:
            UserError: the plan names other layers, or grows what cannot grow.
        """
        plan.check(self.names)
        for layer in self.layers:
            self._check_width(layer, plan)
        for name, owner in self.shares.items():
            bits = plan[name].weight_bits, plan[owner].weight_bits
            if bits[0] != bits[1]:
                raise UserError(
                    f"layers that share a weight must have one weight_bits: {owner} has {bits[1]}, "
                    f"{name} has {bits[0]}"
                )
        inputs = {name: _grown(layout, plan) for name, layout in self.inputs.items()}
        outputs = {name: _grown(layout, plan) for name, layout in self.outputs.items()}

        sizes = {
            layer.name: (
                entries_of(outputs[layer.name]),
                entries_of(inputs.get(layer.name, ())) or layer.features,
            )
            for layer in self.known
        }
        resized = self.with_sizes(sizes)
        return replace(resized, inputs=MappingProxyType(inputs), outputs=MappingProxyType(outputs))

    def with_sizes(self, sizes: Mapping[str, tuple[int, int]]) -> Network:
        """The same network with other numbers of units and features of some layers."""

        def resize(layer: LayerSpec) -> LayerSpec:
            given = sizes.get(layer.name)
            return layer if given is None else layer.resized(*given)

        return replace(
            self, layers=tuple(map(resize, self.layers)), norms=tuple(map(resize, self.norms))
        )

    def sizes(self) -> dict[str, tuple[int, int, int, int]]:
        """Of layers that are not as they were: units and features, and what they were before."""
        return {
            layer.name: (layer.units, layer.features, *layer.original)
            for layer in self.known
            if layer.original is not None
        }

    def _check_width(self, layer: LayerSpec, plan: Plan) -> None:
        width = plan[layer.name].width
        reason = self.why_fixed(layer.name)
        if reason is not None and width != 1.0:
            raise UserError(f"width of {layer.name} must be 1.0 ({reason}), got {width}")
        first = self.groups[layer.name]
        if width != plan[first].width:
            raise UserError(
                f"layers that share their units must have one width: {first} has "
                f"{plan[first].width}, {layer.name} has {width}"
            )

    def at_widths(self, widths: Mapping[str, float]) -> Plan:
        """A plan in float that grows some groups."""
        return Plan(
            {name: LayerChoice(width=widths.get(self.groups[name], 1.0)) for name in self.names}
        )


def _grown(layout: Layout, plan: Plan) -> Layout:
    return tuple(
        segment
        if segment.group is None
        else replace(segment, size=grown_units(segment.size, plan[segment.group].width))
        for segment in layout
    )
