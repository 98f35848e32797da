"""SearchSpace: the choices that each layer has, as dimensions; points and plans.

A point is a tuple of indices, one for each dimension, into the choices of that dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import BITS_FIELDS, WEIGHT_FIELDS, LayerChoice, Plan
from autoquant.settings import Rules, Space
from autoquant.space.activation_bits import usual_choices
from autoquant.space.layer_overrides import (
    DEFAULTS_TO,
    NO_GROWTH,
    LayerOverride,
    has_field,
    resolve_overrides,
)

Point = tuple[int, ...]
"""For each dimension the index of a choice."""


@dataclass(frozen=True)
class Dimension:
    """One ordinal choice of the space.

    Attributes:
        layer: name of the layer.
        field: of the layer's LayerChoice.
        choices: the values of the field, in rising order.
        overridden: whether a rule gave them; then uniform plans have only these values too.
    """

    layer: str
    field: str
    choices: tuple[float, ...]
    overridden: bool = False

    @property
    def name(self) -> str:
        """Layer and field, such as "rnn.l0.width"."""
        return f"{self.layer}.{self.field}"

    @property
    def is_weight_bits(self) -> bool:
        """Whether the field is bits of weights."""
        return self.field in WEIGHT_FIELDS

    @property
    def is_bits(self) -> bool:
        """Whether the field is bits, of weights or of activations."""
        return self.field in BITS_FIELDS

    def allowed(self, value: float) -> float:
        """A value, or the nearest choice (of two the larger) if a rule gave the choices.

        Args:
            value: of the field.
        """
        if not self.overridden:
            return value
        return min(self.choices, key=lambda choice: (abs(choice - value), -choice))


@dataclass(frozen=True)
class SearchSpace:
    """The choices of a network's layers.

    Attributes:
        dimensions: in the order of a point's indices.
        layers: names of all layers, in the order of the model.
        groups: by layer, the layer whose width it has.
        shares: by layer that shares another's weight, the layer whose weight bits it has.
    """

    dimensions: tuple[Dimension, ...]
    layers: tuple[str, ...]
    groups: Mapping[str, str]
    shares: Mapping[str, str] = field(default_factory=dict)

    def plan(self, point: Point) -> Plan:
        """The plan of a point.

        Args:
            point: of this space.
        """
        values: dict[str, dict[str, Any]] = {layer: {} for layer in self.layers}
        for dimension, index in zip(self.dimensions, point, strict=True):
            values[dimension.layer][dimension.field] = dimension.choices[index]
        return self.tied({layer: _shared(**chosen) for layer, chosen in values.items()})

    def tied(self, choices: Mapping[str, LayerChoice]) -> Plan:
        """A plan in which tied layers have one width, and one number of bits for a shared weight.

        Args:
            choices: of all layers, by name.
        """
        return Plan(
            {
                layer: _shared(
                    choices[self.shares.get(layer, layer)].weight_bits,
                    choice.activation_bits,
                    choices[self.groups[layer]].width,
                    choice.recurrent_bits,
                    choice.hidden_bits,
                )
                for layer, choice in choices.items()
            }
        )

    def point(self, plan: Plan) -> Point | None:
        """The point of a plan, or None where the space does not contain the plan.

        Args:
            plan: for all layers of the space.
        """
        indices = []
        for dimension in self.dimensions:
            value = _value(plan[dimension.layer], dimension.field)
            if value not in dimension.choices:
                return None
            indices.append(dimension.choices.index(value))
        point = tuple(indices)
        return point if _same(self.plan(point), plan) else None

    @property
    def smallest(self) -> Point:
        """The point with the fewest bits and the smallest widths."""
        return (0,) * len(self.dimensions)

    @property
    def width_steps(self) -> int:
        """The largest number of widths that a layer has; 1 where none may grow."""
        return max((len(d.choices) for d in self.dimensions if d.field == "width"), default=1)


def build_space(
    network: Network, widenable: Collection[str], choices: Space, rules: Rules | None = None
) -> SearchSpace:
    """The choices of every layer of a network.

    Args:
        network: before widening.
        widenable: layers that may grow; a group grows when all of its layers may.
        choices: bits and widths to choose from.
        rules: other choices for some layers, see settings.Search.rules. A layer with a width there
            grows even if it is not widenable.

    Raises:
        UserError: a rule does not suit the network.
    """
    overrides = resolve_overrides(network, rules or {})
    dimensions: list[Dimension] = []
    for layer in network.layers:
        by_field = overrides[layer.name]
        bits = _bits_of(layer, choices, by_field)
        shared = {"weight_bits"} if layer.name in network.shares else set[str]()
        dimensions += [dimension for dimension in bits if dimension.field not in shared]
        members = network.members(layer.name)
        if members and "width" in by_field:
            if by_field["width"].choices != NO_GROWTH:
                dimensions.append(Dimension(layer.name, "width", by_field["width"].choices, True))
        elif members and all(name in widenable for name in members):
            dimensions.append(Dimension(layer.name, "width", choices.width))
    return SearchSpace(tuple(dimensions), network.names, network.groups, network.shares)


@lru_cache(maxsize=10_000, typed=True)  # 1 and 1.0 are written in different ways
def _shared(*values: Any, **named: Any) -> LayerChoice:
    """A LayerChoice; of equal ones the same object, since thousands of plans are kept in memory."""
    return LayerChoice(*values, **named)


def _bits_of(
    layer: LayerSpec, choices: Space, overrides: Mapping[str, LayerOverride]
) -> Iterator[Dimension]:
    """The dimensions of a layer's bits.

    Recurrent weights and hidden states have dimensions of their own with ``split_recurrent``, or if
    a rule names them.

    Args:
        layer: of the network.
        choices: bits to choose from.
        overrides: of the layer, by field.
    """
    for name in ("weight_bits", "activation_bits", *DEFAULTS_TO):
        separate = name not in DEFAULTS_TO or choices.split_recurrent or name in overrides
        if has_field(layer, name) and separate:
            default = DEFAULTS_TO.get(name, name)
            override = overrides.get(name, overrides.get(default))
            values = getattr(choices, default) if override is None else override.choices
            if name == "hidden_bits" and override is None:
                values = usual_choices(values)
            yield Dimension(layer.name, name, values, override is not None)


def _value(choice: LayerChoice, field: str) -> Any:
    """The value of a field; recurrent and hidden bits default to the layer's other bits."""
    return choice.width if field == "width" else choice.bits_in(field)


def _same(first: Plan, second: Plan) -> bool:
    """Whether all fields of two plans have the same values."""
    names = [field.name for field in fields(LayerChoice)]
    return all(
        _value(first[layer], name) == _value(second[layer], name)
        for layer in first.choices
        for name in names
    )


def uniform_plan(space: SearchSpace, network: Network, choice: LayerChoice) -> Plan:
    """The plan with one choice for all layers, as near as rules allow, as the space writes it.

    Layers that do not quantize their input have 32 activation bits, and those that may not grow a
    width of 1.0, as in the plans of points.

    Args:
        space: of the network.
        network: before widening.
        choice: of every layer.
    """
    choices = {}
    for layer in network.layers:
        activation_bits = choice.activation_bits if layer.multiplies else 32
        values: dict[str, Any] = {
            dimension.field: dimension.allowed(_value(choice, dimension.field))
            for dimension in space.dimensions
            if dimension.layer == layer.name
        }
        values = {"activation_bits": activation_bits, "width": 1.0} | values
        choices[layer.name] = replace(choice, **values)
    return space.tied(choices)


def weight_bits_only(space: SearchSpace, choice: LayerChoice) -> SearchSpace:
    """A space in which only weight bits are chosen.

    Args:
        space: with other dimensions too.
        choice: has the activation bits and the width of all layers, as near as rules allow.
    """
    dimensions = (
        dimension
        if dimension.is_weight_bits
        else replace(dimension, choices=(dimension.allowed(_value(choice, dimension.field)),))
        for dimension in space.dimensions
    )
    return replace(space, dimensions=tuple(dimensions))
