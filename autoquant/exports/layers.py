"""The quantized layers of a model, as an export gets them: values only, no modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from autoquant.artifact.load_layers import StoredLayer
from autoquant.exports.weights import Activation, Floats, Weight, weight_of
from autoquant.kernels import Cell
from autoquant.layers.recurrent import PROJECTION, ROUND_HALF_UP, SUFFIXES, RecurrentLayer


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """y = x W^T + b.

    Attributes:
        name: in the model.
        weight: [out, in].
        bias: [out], or None.
        inputs: how its input is rounded, or None.
    """

    name: str
    weight: Weight
    bias: Floats | None
    inputs: Activation | None


@dataclass(frozen=True, eq=False)
class TableLayer:
    """Rows of a table that are looked up.

    Attributes:
        name: in the model.
        table: [words, units].
        zero_rows: rows that are zero whatever their codes say: the row for padding.
    """

    name: str
    table: Weight
    zero_rows: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Direction:
    """Weights of one direction of a recurrent layer.

    Attributes:
        input: [G*H, I].
        recurrent: [G*H, W].
        bias: [G*H], or None.
        candidate_bias: [H], of a GRU, or None.
        projection: [W, H], of an LSTM, or None.
    """

    input: Weight
    recurrent: Weight
    bias: Floats | None
    candidate_bias: Floats | None
    projection: Weight | None


@dataclass(frozen=True, eq=False)
class RecurrentLayerValues:
    """One layer of a stack.

    Attributes:
        name: in the model.
        units: width W of a direction's hidden state.
        cells: H; differs from W where there is a projection.
        directions: one or two.
        inputs: how its input is rounded, or None.
        hidden: how its hidden state is rounded, or None.
    """

    name: str
    units: int
    cells: int
    directions: tuple[Direction, ...]
    inputs: Activation | None
    hidden: Activation | None


@dataclass(frozen=True, eq=False)
class StackLayer:
    """A stack of recurrent layers.

    Attributes:
        name: in the model.
        cell: of all layers.
        layers: first to last.
        initial: the value of a state that is not given.
    """

    name: str
    cell: Cell
    layers: tuple[RecurrentLayerValues, ...]
    initial: float

    @property
    def directions(self) -> int:
        """Directions of a layer."""
        return len(self.layers[0].directions)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of a state."""
        return ("h", "c") if self.cell.kind == "lstm" else ("h",)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the parts of a state, each that of the widest layer."""
        h = max(layer.units for layer in self.layers)
        return (h, max(layer.cells for layer in self.layers))[: len(self.parts)]

    def width(self, layer: RecurrentLayerValues, part: int) -> int:
        """Width of a part of one layer's state.

        Args:
            layer: of the stack.
            part: 0 for h, 1 for c.
        """
        return layer.cells if part else layer.units

    def initial_state(self, part: int) -> Floats:
        """A part of the state that a sequence starts with, [L*D, W]: zeros behind narrower layers.

        See ``RecurrentLayer.initial_state``: c is rounded as h is; h is rounded in a step.

        Args:
            part: 0 for h, 1 for c.
        """
        values = np.zeros((len(self.layers) * self.directions, self.widths[part]), np.float32)
        for index, layer in enumerate(self.layers):
            rows = slice(index * self.directions, (index + 1) * self.directions)
            values[rows, : self.width(layer, part)] = self._initial(layer, part)
        return values

    def _initial(self, layer: RecurrentLayerValues, part: int) -> np.float32:
        """The initial value of a part of one layer's state."""
        hidden = layer.hidden
        if self.initial == 0 or hidden is None:
            return np.float32(self.initial)
        value = np.float32(self.initial * ROUND_HALF_UP)
        if part == 0:
            return value
        if hidden.bits > 8:
            return np.float32(np.float16(value))
        scale = np.float32(hidden.scale)
        code = np.clip(np.rint(value / scale), hidden.grid.qmin, hidden.grid.qmax)
        return np.float32(code * scale)


Layer = LinearLayer | TableLayer | StackLayer


def named_weights(layers: Iterable[Layer]) -> Iterator[tuple[str, Weight]]:
    """All weights of layers, by their names in the model.

    Args:
        layers: any.
    """
    for layer in layers:
        if isinstance(layer, LinearLayer):
            yield f"{layer.name}.weight", layer.weight
        elif isinstance(layer, TableLayer):
            yield f"{layer.name}.weight", layer.table
        else:
            for part in layer.layers:
                for suffix, direction in zip(SUFFIXES, part.directions, strict=False):
                    yield f"{part.name}.weight_ih{suffix}", direction.input
                    yield f"{part.name}.weight_hh{suffix}", direction.recurrent
                    if direction.projection is not None:
                        yield f"{part.name}.{PROJECTION}{suffix}", direction.projection


def weights_of(stored: StoredLayer) -> Mapping[str, Weight]:
    """The parameters of a layer, by their names in it.

    Args:
        stored: the layer in a packed file.
    """
    return {spec.name: weight_of(stored, spec) for spec in stored.spec.parameters}


def linear_layer(stored: StoredLayer) -> LinearLayer:
    """A linear layer of a packed file.

    Args:
        stored: the layer.
    """
    weights, inputs = weights_of(stored), stored.quantizers().get("input_quantizer")
    bias = weights.get("bias")
    return LinearLayer(
        stored.spec.name,
        weights["weight"],
        None if bias is None else bias.values(),
        Activation.of(inputs),
    )


def recurrent_layer(stored: StoredLayer, module: RecurrentLayer) -> RecurrentLayerValues:
    """A recurrent layer of a packed file.

    Args:
        stored: the layer.
        module: the layer in the loaded model, for its sizes.
    """
    weights, quantizers = weights_of(stored), stored.quantizers()
    directions = tuple(_direction(weights, suffix) for suffix in SUFFIXES[: module.directions])
    inputs, hidden = (
        Activation.of(quantizers.get(name)) for name in ("input_quantizer", "hidden_quantizer")
    )
    return RecurrentLayerValues(
        stored.spec.name, module.units, module.hidden_size, directions, inputs, hidden
    )


def _direction(weights: Mapping[str, Weight], suffix: str) -> Direction:
    bias, candidate = (weights.get(name + suffix) for name in ("bias", "bias_hn"))
    return Direction(
        weights["weight_ih" + suffix],
        weights["weight_hh" + suffix],
        None if bias is None else bias.values(),
        None if candidate is None else candidate.values(),
        weights.get(PROJECTION + suffix),
    )
