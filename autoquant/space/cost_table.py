"""CostTable: the costs of the points of a space, from a table of what each layer contributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.costs.cost import Cost, LayerCost
from autoquant.costs.limit import LimitSet
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.space.layer_overrides import DEFAULTS_TO
from autoquant.space.search_space import Point, SearchSpace


@dataclass(frozen=True)
class Term:
    """What some choices of a layer contribute to a cost, beside those of the lowest ones.

    Attributes:
        layer: number of the layer.
        dimensions: by index, in rising order.
        values: the contribution of each combination of their choices, less that of the lowest.
    """

    layer: int
    dimensions: tuple[int, ...]
    values: NDArray[np.float64]


class CostTable:
    """The costs of the points of one space.

    A contribution of a layer is computed once for all combinations of choices that it depends on,
    when it is first asked for; so is the constant, for all widths that it can depend on.

    Args:
        space: of the points.
        network: before widening.
        scheme: how numbers become codes.
        costs: that are tabulated; a cost that does not state how it is made of layers is
            evaluated as a whole, each time.
    """

    def __init__(
        self, space: SearchSpace, network: Network, scheme: Scheme, costs: tuple[Cost, ...]
    ) -> None:
        self.space, self.network, self.scheme, self.costs = space, network, scheme, costs
        self._constants: dict[tuple[int, Point], float] = {}
        self._widths = [i for i, d in enumerate(space.dimensions) if d.field == "width"]
        self._layers: list[_Layer] = []
        if any(cost.layers for cost in costs):
            self._layers = [_Layer.of(space, network, layer) for layer in network.layers]
        self._tables: list[list[dict[Any, float]]] = [[{} for _ in self._layers] for _ in costs]
        self.readers: list[list[int]] = [[] for _ in space.dimensions]
        for number, layer in enumerate(self._layers):
            for dimension in layer.dimensions:
                self.readers[dimension].append(number)

    @classmethod
    def of(cls, space: SearchSpace, limits: LimitSet, *others: Cost) -> CostTable:
        """The table of the costs of some limits.

        Args:
            space: of the points.
            limits: whose costs come first, in their order.
            others: costs that follow.
        """
        return cls(space, limits.network, limits.scheme, (*limits.costs, *others))

    def values(self, point: Point) -> tuple[float, ...]:
        """The costs of a point, exactly as ``Cost.of`` gives them.

        Args:
            point: of the space.
        """
        return tuple(
            self._whole(number, point)
            if cost.layers is None
            else self.constant(number, point)
            + cost.layers.combined(self.contributions(number, point))
            for number, cost in enumerate(self.costs)
        )

    def contributions(self, number: int, point: Point) -> list[float]:
        """What each layer of a point contributes to a cost.

        Args:
            number: of the cost, one with ``layers``.
            point: of the space.
        """
        return [self.contribution(number, layer, point) for layer in range(len(self._layers))]

    def contribution(self, number: int, layer: int, point: Point) -> float:
        """What one layer of a point contributes to a cost.

        Args:
            number: of the cost, one with ``layers``.
            layer: its number.
            point: of the space.
        """
        table, key = self._tables[number][layer], self._layers[layer].key(point)
        if key not in table:
            layers: Any = self.costs[number].layers
            spec = self.network.layer_at(self.network.layers[layer], self._widths_at(point))
            choice = self._layers[layer].choice(self.space, point)
            table[key] = layers.of_layer(self.network, spec, choice, self.scheme)
        return table[key]

    def constant(self, number: int, point: Point) -> float:
        """What is added to the contributions of the layers at the widths of a point.

        Args:
            number: of the cost, one with ``layers``.
            point: of the space.
        """
        layers: Any = self.costs[number].layers
        if layers.constant is None:
            return 0
        key = number, tuple(point[i] for i in self._outside)
        if key not in self._constants:
            widths = self.network.at_widths(self._widths_at(point))
            resized = self.network.resized(widths)
            self._constants[key] = layers.constant_of(self.network, resized, self.scheme)
        return self._constants[key]

    def terms(self, number: int, lowest: Point) -> list[Term]:
        """A cost as a sum over choices of bits, at fixed widths.

        Of a cost with ``layers`` the terms are exact: the contribution of a layer is that of the
        lowest choices plus its terms. Another cost has one term for each dimension of bits, of a
        layer -1: what the choice adds while all others are the lowest.

        Args:
            number: of the cost.
            lowest: a point whose bits are all the lowest; it gives the widths.
        """
        layers = self.costs[number].layers
        if layers is None:
            return [self._added(number, lowest, i) for i in self.bit_dimensions()]
        terms = (
            self._term(number, layer, lowest, dimensions)
            for layer in range(len(self._layers))
            for dimensions in self._layers[layer].factors(layers)
        )
        return [term for term in terms if term.values.any()]

    def bit_dimensions(self) -> list[int]:
        """The dimensions that are not widths."""
        return [i for i in range(len(self.space.dimensions)) if i not in self._widths]

    def _term(self, number: int, layer: int, lowest: Point, dimensions: tuple[int, ...]) -> Term:
        """What some dimensions contribute to a cost through one layer.

        Args:
            number: of the cost.
            layer: number of the layer.
            lowest: see ``terms``.
            dimensions: that change.
        """
        base = self.contribution(number, layer, lowest)
        shape = [len(self.space.dimensions[i].choices) for i in dimensions]
        values = np.empty(shape)
        for choices in product(*map(range, shape)):
            point = changed(lowest, dict(zip(dimensions, choices, strict=True)))
            values[choices] = self.contribution(number, layer, point) - base
        return Term(layer, dimensions, values)

    def _added(self, number: int, lowest: Point, dimension: int) -> Term:
        """What each choice of a dimension adds to a cost that is evaluated as a whole.

        Args:
            number: of the cost.
            lowest: see ``terms``.
            dimension: by index.
        """
        steps = range(len(self.space.dimensions[dimension].choices))
        costs = [self._whole(number, changed(lowest, {dimension: step})) for step in steps]
        return Term(-1, (dimension,), np.array(costs, dtype=float) - costs[0])

    def _whole(self, number: int, point: Point) -> float:
        """A cost that is evaluated as a whole."""
        return self.costs[number].of(self.network, self.space.plan(point), self.scheme)

    def _widths_at(self, point: Point) -> dict[str, float]:
        """The widths of a point, by group."""
        dimensions = self.space.dimensions
        return {dimensions[i].layer: dimensions[i].choices[point[i]] for i in self._widths}

    @cached_property
    def _outside(self) -> list[int]:
        """The dimensions of widths that something outside of layers has."""
        network = self.network
        layouts = [tensor.layout for tensor in network.unquantized]
        for norm in network.norms:
            layouts += [network.inputs.get(norm.name, ()), network.outputs[norm.name]]
        groups = {segment.group for layout in layouts for segment in layout}
        return [i for i in self._widths if self.space.dimensions[i].layer in groups]


class PointCosts:
    """The costs of one point, which changes choice by choice; only its layers are looked up.

    Args:
        table: has the costs.
        point: to begin with.
    """

    def __init__(self, table: CostTable, point: Point) -> None:
        self.table, self.point = table, point
        self._contributions = [
            [] if cost.layers is None else table.contributions(number, point)
            for number, cost in enumerate(table.costs)
        ]
        self.values = table.values(point)

    def after(self, index: int, choice: int) -> tuple[float, ...]:
        """The costs of the point with one choice changed.

        Args:
            index: of the dimension.
            choice: its new one.
        """
        point = changed(self.point, {index: choice})
        return tuple(self._after(number, index, point)[0] for number in range(len(self.values)))

    def move(self, index: int, choice: int) -> None:
        """Change one choice of the point.

        Args:
            index: of the dimension.
            choice: its new one.
        """
        point = changed(self.point, {index: choice})
        moved = [self._after(number, index, point) for number in range(len(self.values))]
        self.point = point
        self.values = tuple(value for value, _ in moved)
        self._contributions = [contributions for _, contributions in moved]

    def _after(self, number: int, index: int, point: Point) -> tuple[float, list[float]]:
        """A cost of a neighbour of the point, and what its layers contribute.

        Args:
            number: of the cost.
            index: of the dimension that differs.
            point: the neighbour.
        """
        table, layers = self.table, self.table.costs[number].layers
        if layers is None:
            return table._whole(number, point), []
        contributions = self._contributions[number].copy()
        for layer in table.readers[index]:
            contributions[layer] = table.contribution(number, layer, point)
        return table.constant(number, point) + layers.combined(contributions), contributions


def changed(point: Point, choices: Mapping[int, int]) -> Point:
    """A point with other choices of some dimensions.

    Args:
        point: of a space.
        choices: by the index of the dimension.
    """
    values = list(point)
    for index, choice in choices.items():
        values[index] = choice
    return tuple(values)


@dataclass(frozen=True)
class _Layer:
    """Which dimensions a layer's contributions depend on.

    Attributes:
        bits: the dimension of each field of its choice that is bits; other fields are not chosen.
        width: the dimension of its width; None where it has none.
        dimensions: all that its size or its choice depend on, in rising order.
        key: the choices of these dimensions at a point.
    """

    bits: Mapping[str, int]
    width: int | None
    dimensions: tuple[int, ...]
    key: Callable[[Point], Any]

    @classmethod
    def of(cls, space: SearchSpace, network: Network, layer: LayerSpec) -> _Layer:
        """The dimensions of a layer.

        Args:
            space: of the network.
            network: before widening.
            layer: of it.
        """
        index = {(d.layer, d.field): i for i, d in enumerate(space.dimensions)}
        owner = space.shares.get(layer.name, layer.name)
        bits = {
            field: i
            for (name, field), i in index.items()
            if field != "width" and name == (owner if field == "weight_bits" else layer.name)
        }
        layouts = (*network.inputs.get(layer.name, ()), *network.outputs.get(layer.name, ()))
        groups = {space.groups[layer.name], *(segment.group for segment in layouts)}
        widths = {i for (name, field), i in index.items() if field == "width" and name in groups}
        dimensions = tuple(sorted({*bits.values(), *widths}))
        key = itemgetter(*dimensions) if dimensions else _no_choices
        return cls(bits, index.get((space.groups[layer.name], "width")), dimensions, key)

    def choice(self, space: SearchSpace, point: Point) -> LayerChoice:
        """The layer's choice in the plan of a point.

        Args:
            space: of the point.
            point: of it.
        """
        fields = dict(self.bits) if self.width is None else {**self.bits, "width": self.width}
        values: dict[str, Any] = {
            field: space.dimensions[i].choices[point[i]] for field, i in fields.items()
        }
        return LayerChoice(**values)

    def factors(self, layers: LayerCost) -> list[tuple[int, ...]]:
        """The dimensions of bits in sets whose contributions add up.

        Args:
            layers: of a cost, which says what it has products of.
        """
        sets = [{i} for i in sorted({*self.bits.values()})]
        for fields in layers.products:
            joined = {i for field in fields if (i := self._dimension(field)) is not None}
            for other in [each for each in sets if each & joined]:
                sets.remove(other)
                joined |= other
            if joined:
                sets.append(joined)
        return [tuple(sorted(each)) for each in sets]

    def _dimension(self, field: str) -> int | None:
        """The dimension that gives a field its value; None where it is not chosen."""
        return self.bits.get(field, self.bits.get(DEFAULTS_TO.get(field, field)))


def _no_choices(point: Point) -> Any:
    return ()
