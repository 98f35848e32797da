"""Network: a model's layers and how their widths hang together, as values without tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from autoquant.errors import UserError
from autoquant.layers import LayerSpec, grown_units
from autoquant.plan import Plan


@dataclass(frozen=True)
class Segment:
    """A stretch of a last axis: the units of one group of layers, or of none."""

    group: str | None
    size: int


Layout = tuple[Segment, ...]


@dataclass(frozen=True)
class Leftover:
    """A tensor of the model that belongs to no known layer; it is stored as it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A model's layers and how their widths hang together. Values only; no tensors.

    Attributes:
        layers: every known layer, in the order of the model.
        inputs: the layout of each layer's input features.
        groups: the group of each layer: layers of a group have one width. A group has the name of
            its first layer.
        frozen: groups that cannot grow, and why.
        leftovers: tensors outside the known layers.
        dropouts: the probability of the dropout right before a layer's input, where there is one.
    """

    layers: tuple[LayerSpec, ...]
    inputs: Mapping[str, Layout]
    groups: Mapping[str, str]
    frozen: Mapping[str, str]
    leftovers: tuple[Leftover, ...]
    dropouts: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of weights and biases, of layers that autoquant does not know too."""
        return sum(layer.count for layer in self.layers) + sum(
            math.prod(each.shape) for each in self.leftovers
        )

    def consumers(self, layer: str) -> tuple[str, ...]:
        """Layers that read the units of a layer."""
        return tuple(
            name
            for name in self.names
            if any(segment.group == layer for segment in self.inputs[name])
        )

    def why_fixed(self, layer: str) -> str | None:
        """Why a layer cannot grow, or None where it can."""
        return self.frozen.get(self.groups[layer])

    def resized(self, plan: Plan) -> Network:
        """The same network at the widths of a plan.

        Raises:
            UserError: the plan names other layers, or grows what cannot grow.
        """
        plan.check(self.names)
        units = {layer.name: self._grown(layer, plan) for layer in self.layers}
        layers, inputs = [], {}
        for layer in self.layers:
            layout = tuple(
                segment if segment.group is None else Segment(segment.group, units[segment.group])
                for segment in self.inputs[layer.name]
            )
            features = sum(segment.size for segment in layout) or layer.features
            layers.append(layer.resized(units[layer.name], features))
            inputs[layer.name] = layout
        return replace(self, layers=tuple(layers), inputs=MappingProxyType(inputs))

    def _grown(self, layer: LayerSpec, plan: Plan) -> int:
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
        return grown_units(layer.units, width)
