"""One time step of a recurrent cell in ONNX; the same functions as kernels/recurrent/cell.py."""

from __future__ import annotations

import numpy as np

from autoquant.exports.layers import Direction, RecurrentLayerValues
from autoquant.exports.onnx.dialect import Dialect
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.products import Product
from autoquant.exports.stored import Stored
from autoquant.kernels import Cell

LAST = -1


class CellStep:
    """What computes a step of one direction.

    Args:
        cell: of the layer.
        layer: the layer.
        direction: its weights.
        suffix: of the names of the direction's weights.
        dialect: the operators to use.

    Attributes:
        stored: what the step stores of its weights.
    """

    def __init__(
        self,
        cell: Cell,
        layer: RecurrentLayerValues,
        direction: Direction,
        suffix: str,
        dialect: Dialect,
    ) -> None:
        self.cell = cell
        self.layer = layer
        self.direction = direction
        self.suffix = suffix
        self.dialect = dialect
        self.stored: list[Stored] = []

    def project(self, graph: GraphBuilder, inputs: str) -> str:
        """The product with the inputs, which no step depends on.

        Args:
            graph: gets the nodes.
            inputs: name of the inputs [..., I], not rounded.

        Returns:
            the name of [..., G*H], with the bias.
        """
        name = f"{self.layer.name}.weight_ih{self.suffix}"
        job = Product(name, self.direction.input, self.direction.bias, self.layer.inputs)
        return self._product(graph, inputs, job)

    def step(self, graph: GraphBuilder, projected: str, state: list[str]) -> list[str]:
        """One time step.

        Args:
            graph: gets the nodes.
            projected: name of one step of ``project``, [B, G*H].
            state: names of the parts before the step; h is rounded.

        Returns:
            names of the parts after it; h is rounded.
        """
        name = f"{self.layer.name}.weight_hh{self.suffix}"
        job = Product(name, self.direction.recurrent, None, self.layer.hidden, is_rounded=True)
        recurrent = self._product(graph, state[0], job)
        if self.cell.kind == "lstm":
            h, *rest = self._lstm(graph, projected, recurrent, state[1])
        elif self.cell.kind == "gru":
            h, rest = self._gru(graph, projected, recurrent, state[0]), []
        else:
            sums = graph.node("Add", projected, recurrent)
            h, rest = graph.node("Tanh" if self.cell.kind == "rnn_tanh" else "Relu", sums), []
        return [self.dialect.state(graph, h, self.layer.hidden), *rest]

    def _product(self, graph: GraphBuilder, values: str, job: Product) -> str:
        """A product, whose weight is noted in ``stored``.

        Args:
            graph: gets the nodes.
            values: name of x.
            job: weight, bias and rounding.
        """
        outputs, stored = self.dialect.product(graph, values, job)
        self.stored.append(stored)
        return outputs

    def _lstm(self, graph: GraphBuilder, projected: str, recurrent: str, c: str) -> list[str]:
        """The next h, not rounded, and c.

        Args:
            graph: gets the nodes.
            projected: name of the inputs' product.
            recurrent: name of the hidden state's product.
            c: name of the cell state.
        """
        plain = self.cell.candidate == "tanh"
        squash = "Tanh" if plain else "Sigmoid"
        sums = graph.node("Add", projected, recurrent)
        i, f, g, o = graph.nodes_of("Split", sums, outputs=4, axis=LAST, num_outputs=4)
        if not plain:
            f = graph.node("Add", f, graph.constant(np.float32(1), "one"))
        kept = graph.node("Mul", graph.node("Sigmoid", f), c)
        new = graph.node("Mul", graph.node("Sigmoid", i), graph.node(squash, g))
        memory = graph.node("Add", kept, new)
        h = graph.node("Mul", graph.node("Sigmoid", o), graph.node(squash, memory))
        if self.direction.projection is not None:
            name = f"{self.layer.name}.weight_hr{self.suffix}"
            h = self._product(graph, h, Product(name, self.direction.projection, None, None))
        return [h, memory]

    def _gru(self, graph: GraphBuilder, projected: str, recurrent: str, h: str) -> str:
        """The next h, not rounded.

        Args:
            graph: gets the nodes.
            projected: name of the inputs' product.
            recurrent: name of the hidden state's product.
            h: name of the hidden state.
        """
        r_in, z_in, n_in = graph.nodes_of("Split", projected, outputs=3, axis=LAST, num_outputs=3)
        r_hid, z_hid, n_hid = graph.nodes_of(
            "Split", recurrent, outputs=3, axis=LAST, num_outputs=3
        )
        bias = self.direction.candidate_bias
        if bias is not None:
            n_hid = graph.node("Add", n_hid, graph.constant(bias, "candidate_bias"))
        reset = graph.node("Sigmoid", graph.node("Add", r_in, r_hid))
        update = graph.node("Sigmoid", graph.node("Add", z_in, z_hid))
        inner = graph.node("Add", n_in, graph.node("Mul", reset, n_hid))
        candidate = graph.node("Tanh", inner)
        change = graph.node("Mul", update, graph.node("Sub", h, candidate))
        return graph.node("Add", candidate, change)
