"""Network: a model's layers and how their widths depend on each other; values without tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from autoquant.errors import UserError
from autoquant.layers import LayerSpec, grown_units
from autoquant.layers.spec import NewUnits
from autoquant.plan import LayerChoice, Plan


@dataclass(frozen=True)
class Segment:
    """A stretch of an axis: the units of one group of layers, or entries that never change.

    Attributes:
        group: the group whose width it has; None where it never changes.
        size: how many units it holds. A unit is the least that can be duplicated: a neuron, a
            channel, or a whole attention head.
        run: entries of the axis that each unit takes, one after the other (an attention head's
            size, or the pixels of a flattened channel).
        part: number of the set of units, where the group has several (outputs that are sliced).
        new_units: what units that are added hold. Where they are no copies, the layers that write
            them must say so by their rows.
    """

    group: str | None
    size: int
    run: int = 1
    part: int = 0
    new_units: NewUnits = "copies"

    @property
    def entries(self) -> int:
        """How long it is."""
        return self.size * self.run


Layout = tuple[Segment, ...]


def entries_of(layout: Layout) -> int:
    """How long an axis is.

    Args:
        layout: of the axis.
    """
    return sum(segment.entries for segment in layout)


@dataclass(frozen=True)
class UnquantizedTensor:
    """A tensor of the model that belongs to no known layer; it is stored as it is.

    Attributes:
        name: in the model's state_dict.
        dtype: of torch, without its prefix ("float32").
        shape: its shape.
        layout: of its last axis, where that holds units (a position table); else empty.
        original: size of the last axis before growing, where it differed; else None.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: Layout = ()
    original: int | None = None

    def resized(self, units: int) -> UnquantizedTensor:
        """The same tensor with a last axis of another size.

        Args:
            units: entries of the last axis.
        """
        before = self.original or self.shape[-1]
        original = before if before != units else None
        return replace(self, shape=(*self.shape[:-1], units), original=original)


@dataclass(frozen=True)
class Network:
    """A model's layers and how their widths depend on each other. Values only; no tensors.

    Attributes:
        layers: every layer that a plan chooses for, in the order of the model.
        norms: layers that have no width of their own and keep their precision; each has the units
            of its input.
        inputs: the layout of each layer's input features; empty for one that looks up (embedding).
        outputs: the layout of each layer's output units (of one direction), and of each norm's.
        groups: the group of each layer: layers of a group have one width. A group has the name of
            its first layer.
        frozen: groups that cannot grow, and why.
        unquantized: tensors of the state_dict outside the layers and norms.
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
        """Of the layers, in the order of the model."""
        return tuple(layer.name for layer in self.layers)

    @property
    def layers_and_norms(self) -> tuple[LayerSpec, ...]:
        """Layers first, then norms."""
        return (*self.layers, *self.norms)

    @property
    def parameters(self) -> int:
        """Number of weights and biases, unquantized tensors included.

        A weight that several layers share counts once.
        """
        return sum(layer.count for layer in self.layers_and_norms) + sum(
            math.prod(tensor.shape) for tensor in self.unquantized
        )

    def members(self, group: str) -> tuple[str, ...]:
        """Names of the layers of a group.

        Args:
            group: named after its first layer.
        """
        return tuple(name for name in self.names if self.groups[name] == group)

    @cached_property
    def shares(self) -> Mapping[str, str]:
        """Layers whose weight is that of an earlier layer as well, and that layer; by names."""
        return {
            layer.name: parameter.shared.rpartition(".")[0]
            for layer in self.layers
            for parameter in layer.parameters
            if parameter.shared and parameter.is_weight
        }

    def why_fixed(self, layer: str) -> str | None:
        """Why a layer cannot grow, or None where it can.

        Args:
            layer: its name.
        """
        return self.frozen.get(self.groups[layer])

    def resized(self, plan: Plan) -> Network:
        """The same network at the widths of a plan.

        Args:
            plan: a choice for each layer of this network.

        Raises:
            UserError: the plan names other layers, grows what cannot grow, or gives layers of one
                group different widths, or layers that share a weight different bits.
        """
        plan.check(self.names)
        self._check_widths(plan)
        self._check_shared_bits(plan)
        if all(choice.width == 1.0 for choice in plan.choices.values()):
            return self
        widths = {name: choice.width for name, choice in plan.choices.items()}
        inputs = {name: _at_widths(layout, widths) for name, layout in self.inputs.items()}
        outputs = {name: _at_widths(layout, widths) for name, layout in self.outputs.items()}
        sizes = {
            layer.name: (
                entries_of(outputs[layer.name]),
                entries_of(inputs.get(layer.name, ())) or layer.features,
            )
            for layer in self.layers_and_norms
        }
        layouts = {tensor.name: _at_widths(tensor.layout, widths) for tensor in self.unquantized}
        sizes |= {name: (entries_of(layout),) * 2 for name, layout in layouts.items() if layout}
        resized = self.with_sizes(sizes)
        unquantized = (replace(t, layout=layouts[t.name]) for t in resized.unquantized)
        return replace(
            resized,
            inputs=MappingProxyType(inputs),
            outputs=MappingProxyType(outputs),
            unquantized=tuple(unquantized),
        )

    def layer_at(self, layer: LayerSpec, widths: Mapping[str, float]) -> LayerSpec:
        """A layer as ``resized`` has it, without the others.

        Args:
            layer: of this network.
            widths: by group; 1.0 where it is left out.
        """
        units = entries_of(_at_widths(self.outputs[layer.name], widths))
        features = entries_of(_at_widths(self.inputs.get(layer.name, ()), widths))
        return layer.resized(units, features or layer.features)

    def with_sizes(self, sizes: Mapping[str, tuple[int, int]]) -> Network:
        """The same network with other numbers of units and features of some layers.

        Layouts stay as they are.

        Args:
            sizes: units (of one direction) and features, by the names of layers and norms; of an
                unquantized tensor twice the size of its last axis.
        """

        def resize(layer: LayerSpec) -> LayerSpec:
            size = sizes.get(layer.name)
            return layer if size is None else layer.resized(*size)

        unquantized = (
            tensor.resized(sizes[tensor.name][0]) if tensor.name in sizes else tensor
            for tensor in self.unquantized
        )
        return replace(
            self,
            layers=tuple(map(resize, self.layers)),
            norms=tuple(map(resize, self.norms)),
            unquantized=tuple(unquantized),
        )

    def sizes(self) -> dict[str, tuple[int, int, int, int]]:
        """What was resized: units, features, units before, features before; see ``with_sizes``."""
        sizes = {
            layer.name: (layer.units, layer.features, *layer.original)
            for layer in self.layers_and_norms
            if layer.original is not None
        }
        for tensor in self.unquantized:
            if (before := tensor.original) is not None:
                sizes[tensor.name] = (tensor.shape[-1], tensor.shape[-1], before, before)
        return sizes

    def at_widths(self, widths: Mapping[str, float]) -> Plan:
        """A plan in float that grows some groups.

        Args:
            widths: multiples of the number of units, by group; 1.0 for others.
        """
        return Plan(
            {name: LayerChoice(width=widths.get(self.groups[name], 1.0)) for name in self.names}
        )

    def _check_widths(self, plan: Plan) -> None:
        """Raise a UserError where a plan grows what cannot grow, or splits a group."""
        for name in self.names:
            width, reason, first = plan[name].width, self.why_fixed(name), self.groups[name]
            if reason is not None and width != 1.0:
                raise UserError(f"width of {name} must be 1.0 ({reason}), got {width}")
            if width != plan[first].width:
                raise UserError(
                    f"layers that share their units must have one width: {first} has "
                    f"{plan[first].width}, {name} has {width}"
                )

    def _check_shared_bits(self, plan: Plan) -> None:
        """Raise a UserError where layers that share a weight have different bits."""
        for name, owner in self.shares.items():
            bits, owner_bits = plan[name].weight_bits, plan[owner].weight_bits
            if bits != owner_bits:
                raise UserError(
                    f"layers that share a weight must have one weight_bits: {owner} has "
                    f"{owner_bits}, {name} has {bits}"
                )


def _at_widths(layout: Layout, widths: Mapping[str, float]) -> Layout:
    """A layout after growing."""
    return tuple(
        segment
        if segment.group is None
        else replace(segment, size=grown_units(segment.size, widths.get(segment.group, 1.0)))
        for segment in layout
    )
