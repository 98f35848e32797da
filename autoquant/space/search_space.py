"""The search space: which choices each layer has, and the projection of a proposal onto a budget.

A point is a tuple of indices, one for each dimension, into the rising choices of that dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import WEIGHT_FIELDS, LayerChoice, Plan
from autoquant.settings import Rules, Space
from autoquant.space.layer_overrides import DEFAULTS_TO, NO_GROWTH, LayerOverride, has, resolve

Point = tuple[int, ...]


@dataclass(frozen=True)
class Dimension:
    """One ordinal choice.

    Attributes:
        layer: the layer it belongs to.
        field: the field of the layer's LayerChoice.
        choices: its values, rising.
        ruled: whether a rule by name gave them; uniform plans keep to these.
    """

    layer: str
    field: str
    choices: tuple[float, ...]
    ruled: bool = False

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.field}"

    @property
    def weighs(self) -> bool:
        """Whether it is of weights' bits."""
        return self.field in WEIGHT_FIELDS

    def admitted(self, value: float) -> float:
        """A value, or the nearest choice (of two the larger) where a rule leaves only these."""
        if not self.ruled:
            return value
        return min(self.choices, key=lambda choice: (abs(choice - value), -choice))


@dataclass(frozen=True)
class SearchSpace:
    """The choices of a network's layers.

    Attributes:
        dimensions: what is chosen.
        layers: all layers.
        groups: of each layer, the one that it takes its width from.
        shares: of layers whose weight is another's too, the one that they take its bits from.
    """

    dimensions: tuple[Dimension, ...]
    layers: tuple[str, ...]
    groups: Mapping[str, str]
    shares: Mapping[str, str] = field(default_factory=dict)

    def plan(self, point: Point) -> Plan:
        """The plan of a point."""
        values: dict[str, dict[str, Any]] = {layer: {} for layer in self.layers}
        for dimension, index in zip(self.dimensions, point, strict=True):
            values[dimension.layer][dimension.field] = dimension.choices[index]
        return self.tied({layer: LayerChoice(**given) for layer, given in values.items()})

    def tied(self, choices: Mapping[str, LayerChoice]) -> Plan:
        """A plan in which layers have in common what they must."""
        return Plan(
            {
                layer: replace(
                    choice,
                    width=choices[self.groups[layer]].width,
                    weight_bits=choices[self.shares.get(layer, layer)].weight_bits,
                )
                for layer, choice in choices.items()
            }
        )

    def point(self, plan: Plan) -> Point | None:
        """The point of a plan, or None where the space does not hold it."""
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
        """The point with the fewest bits and no growth."""
        return (0,) * len(self.dimensions)

    @property
    def width_steps(self) -> int:
        """How many widths the layer with most of them has; 1 where none may grow."""
        return max((len(d.choices) for d in self.dimensions if d.field == "width"), default=1)


def build_space(
    network: Network, widenable: Collection[str], choices: Space, rules: Rules | None = None
) -> SearchSpace:
    """The choices of every layer of a network.

    Args:
        widenable: layers that may grow; a group grows when all of its layers may.
        choices: bits and widths to choose from.
        rules: other choices for some layers, see settings.Search.rules. A width lets a layer grow
            that is not among the widenable.

    Raises:
        UserError: a rule does not suit the network.
    """
    rulings = resolve(network, rules or {})
    dimensions: list[Dimension] = []
    for layer in network.layers:
        ruled = rulings[layer.name]
        bits = _bits_of(layer, choices, ruled)
        shared = {"weight_bits"} if layer.name in network.shares else set[str]()
        dimensions += [each for each in bits if each.field not in shared]
        members = network.members(layer.name)
        if members and "width" in ruled:
            if ruled["width"].choices != NO_GROWTH:
                dimensions.append(Dimension(layer.name, "width", ruled["width"].choices, True))
        elif members and all(name in widenable for name in members):
            dimensions.append(Dimension(layer.name, "width", choices.width))
    return SearchSpace(tuple(dimensions), network.names, network.groups, network.shares)


def _bits_of(
    layer: LayerSpec, choices: Space, ruled: Mapping[str, LayerOverride]
) -> Iterator[Dimension]:
    """The dimensions of a layer's bits; a recurrent one's own where it is split, or a rule says."""
    for name in ("weight_bits", "activation_bits", *DEFAULTS_TO):
        split = name not in DEFAULTS_TO or choices.split_recurrent or name in ruled
        if has(layer, name) and split:
            usual = DEFAULTS_TO.get(name, name)
            ruling = ruled.get(name, ruled.get(usual))
            values = getattr(choices, usual) if ruling is None else ruling.choices
            yield Dimension(layer.name, name, values, ruling is not None)


def _value(choice: LayerChoice, field: str) -> Any:
    """The value that a field has in effect: an unset one takes its layer's."""
    if field == "recurrent_bits":
        return choice.bits_of("recurrent")
    return choice.state_bits if field == "hidden_bits" else getattr(choice, field)


def _same(one: Plan, other: Plan) -> bool:
    names = [field.name for field in fields(LayerChoice)]
    return all(
        _value(one[layer], name) == _value(other[layer], name)
        for layer in one.choices
        for name in names
    )


def uniform_plan(space: SearchSpace, network: Network, choice: LayerChoice) -> Plan:
    """A uniform plan in the form that the space writes plans in, as near as its rules admit.

    Layers without an input to quantize keep 32 activation bits, and those that may not grow their
    width, as in the space's own plans.
    """
    choices = {}
    for layer in network.layers:
        activation_bits = choice.activation_bits if layer.multiplies else 32
        values: dict[str, Any] = {
            dimension.field: dimension.admitted(_value(choice, dimension.field))
            for dimension in space.dimensions
            if dimension.layer == layer.name
        }
        values = {"activation_bits": activation_bits, "width": 1.0} | values
        choices[layer.name] = replace(choice, **values)
    return space.tied(choices)


def pinned(space: SearchSpace, choice: LayerChoice) -> SearchSpace:
    """A space with the activations and the width of a choice, as near as the rules admit."""
    dimensions = (
        each if each.weighs else replace(each, choices=(each.admitted(_value(choice, each.field)),))
        for each in space.dimensions
    )
    return replace(space, dimensions=tuple(dimensions))
