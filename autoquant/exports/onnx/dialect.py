"""Dialects: which operators stand for quantized layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from autoquant.exports.layers import TableLayer
from autoquant.exports.onnx.activations import rounded, rounded_state
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.levels import levels_of
from autoquant.exports.onnx.products import Product, product
from autoquant.exports.onnx.tables import lookup
from autoquant.exports.stored import Stored
from autoquant.exports.weights import Activation, CodedWeight


class Dialect(Protocol):
    """Adds the nodes of quantized layers to a graph; called while a model is lowered."""

    @property
    def operator(self) -> bool:
        """Whether ONNX's own recurrent operators may be used."""
        ...

    def rounded(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """An activation as it is after its quantizer.

        Args:
            graph: gets the nodes.
            values: name of the activation.
            activation: how it is rounded, or None.
        """
        ...

    def state(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """A hidden state as it is after its quantizer; other quantizers may follow.

        Args:
            graph: gets the nodes.
            values: name of the state.
            activation: how it is rounded, or None.
        """
        ...

    def product(self, graph: GraphBuilder, values: str, job: Product) -> tuple[str, Stored]:
        """A product with a weight.

        Args:
            graph: gets the nodes.
            values: name of x, [..., in].
            job: weight, bias and rounding.

        Returns:
            the name of y, [..., out], and what was stored.
        """
        ...

    def lookup(self, graph: GraphBuilder, indices: str, layer: TableLayer) -> tuple[str, Stored]:
        """Rows of a table.

        Args:
            graph: gets the nodes.
            indices: name of the indices [...].
            layer: the table.

        Returns:
            the name of the rows [..., units], and what was stored.
        """
        ...

    def weight(self, graph: GraphBuilder, output: str, name: str, weight: CodedWeight) -> Stored:
        """A weight that any other operator reads as floats.

        Args:
            graph: gets the nodes.
            output: the name that it must have.
            name: of the weight in the model.
            weight: its codes.
        """
        ...


@dataclass(frozen=True)
class RuntimeDialect:
    """Operators that are fast in ONNX Runtime.

    Attributes:
        least: fewest bits of a weight's integers: 4, or 2 for a smaller file that runs slower.
    """

    least: int = 4
    operator: bool = True

    def rounded(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """See ``Dialect.rounded``."""
        return rounded(graph, values, activation)

    def state(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """See ``Dialect.state``."""
        return rounded_state(graph, values, activation)

    def product(self, graph: GraphBuilder, values: str, job: Product) -> tuple[str, Stored]:
        """See ``Dialect.product``."""
        return product(graph, values, job, least=self.least)

    def lookup(self, graph: GraphBuilder, indices: str, layer: TableLayer) -> tuple[str, Stored]:
        """See ``Dialect.lookup``."""
        return lookup(graph, indices, layer, least=self.least)

    def weight(self, graph: GraphBuilder, output: str, name: str, weight: CodedWeight) -> Stored:
        """See ``Dialect.weight``: DequantizeLinear."""
        levels = levels_of(weight)
        if levels.shift:
            values = graph.constant(weight.values(), "weight")
            graph.node_to("Identity", [values], [output])
            return Stored(name, weight.bits, "float32", "none", weight.codes.size * 4)
        with graph.scope(name):
            coded = graph.integers(levels.integers, levels.bits, "codes")
            scale = graph.constant(levels.scale, "scale")
            graph.node_to("DequantizeLinear", [coded, scale], [output], axis=0)
        size = -(-levels.integers.size * levels.bits // 8)
        kind, reader = f"int{levels.bits}", "DequantizeLinear"
        return Stored(name, weight.bits, kind, reader, size, levels.scale.nbytes)
