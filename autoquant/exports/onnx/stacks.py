"""Recurrent stacks: a step, Scan over steps, or ONNX's own recurrent operators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autoquant.exports.layers import RecurrentLayerValues, StackLayer
from autoquant.exports.onnx.cells import CellStep
from autoquant.exports.onnx.dialect import Dialect
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.operators import recurrent_operator, suits_operator
from autoquant.exports.stored import Stored
from autoquant.layers.recurrent import SUFFIXES

FLOAT = 1
"""TensorProto.FLOAT."""


@dataclass
class StackGraph:
    """A stack that is being built.

    Attributes:
        graph: gets the nodes.
        stack: its layers.
        single: whether there is one time step.
        dialect: the operators to use.
        stored: what was stored.
    """

    graph: GraphBuilder
    stack: StackLayer
    single: bool
    dialect: Dialect
    stored: list[Stored] = field(default_factory=list)

    def run(self, inputs: str, state: list[str]) -> tuple[str, list[str]]:
        """All layers.

        Args:
            inputs: name of [T, B, I].
            state: names of the parts, each [L*D, B, W].

        Returns:
            the names of the outputs [T, B, D*W] and of the last parts.
        """
        last: list[list[str]] = []
        axes = self.graph.constant([0], "axes", np.int64)
        if self.single:
            inputs = self.graph.node("Squeeze", inputs, axes)
        for number, layer in enumerate(self.stack.layers):
            first = number * self.stack.directions
            with self.graph.scope(layer.name):
                parts = [
                    [self._part(state[k], layer, first + d, k) for k in range(len(state))]
                    for d in range(self.stack.directions)
                ]
                inputs, ends = self._layer(layer, inputs, parts)
            last += ends
        if self.single:
            inputs = self.graph.node("Unsqueeze", inputs, axes)
        return inputs, [self._joined(last, k) for k in range(len(state))]

    def _part(self, part: str, layer: RecurrentLayerValues, row: int, k: int) -> str:
        """One layer's and direction's part of the state, [B, width].

        Args:
            part: name of [L*D, B, W].
            layer: whose state it is.
            row: of the part.
            k: 0 for h, 1 for c.
        """
        graph, width = self.graph, self.stack.width(layer, k)
        own = graph.node("Gather", part, graph.constant(np.int64(row), "row"), axis=0)
        if width == self.stack.widths[k]:
            return own
        bounds = [graph.constant([at], "bound", np.int64) for at in (0, width, -1)]
        return graph.node("Slice", own, *bounds)

    def _joined(self, last: list[list[str]], k: int) -> str:
        """A part of the last state, [L*D, B, W].

        Args:
            last: of each layer and direction, its parts [B, width].
            k: 0 for h, 1 for c.
        """
        graph, padded = self.graph, []
        layers = [layer for layer in self.stack.layers for _ in range(self.stack.directions)]
        for layer, parts in zip(layers, last, strict=True):
            missing = self.stack.widths[k] - self.stack.width(layer, k)
            part = parts[k]
            if missing:
                part = graph.node("Pad", part, graph.constant([0, 0, 0, missing], "pads", np.int64))
            padded.append(graph.node("Unsqueeze", part, graph.constant([0], "axes", np.int64)))
        return padded[0] if len(padded) == 1 else graph.node("Concat", *padded, axis=0)

    def _layer(
        self, layer: RecurrentLayerValues, inputs: str, states: list[list[str]]
    ) -> tuple[str, list[list[str]]]:
        """Outputs and last states of one layer.

        Args:
            layer: the layer.
            inputs: name of [T, B, I]; [B, I] where there is one step.
            states: of each direction, its parts [B, width].
        """
        if self.dialect.operator and not self.single and suits_operator(self.stack.cell, layer):
            values = self.dialect.rounded(self.graph, inputs, layer.inputs)
            outputs, ends, stored = recurrent_operator(
                self.graph, self.stack.cell, layer, values, states
            )
            self.stored += stored
            return outputs, ends
        sides, ends = [], []
        for index, (direction, state) in enumerate(zip(layer.directions, states, strict=True)):
            step = CellStep(self.stack.cell, layer, direction, SUFFIXES[index], self.dialect)
            run = self._once if self.single else self._scan
            outputs, end = run(step, inputs, state, reverse=index == 1)
            self.stored += step.stored
            sides.append(outputs)
            ends.append(end)
        return sides[0] if len(sides) == 1 else self.graph.node("Concat", *sides, axis=-1), ends

    def _once(
        self, step: CellStep, inputs: str, state: list[str], *, reverse: bool
    ) -> tuple[str, list[str]]:
        """One step.

        Args:
            step: of the direction.
            inputs: name of [B, I].
            state: its parts [B, width].
            reverse: has no effect here.
        """
        graph = self.graph
        projected = step.project(graph, inputs)
        h = self.dialect.state(graph, state[0], step.layer.hidden)
        end = step.step(graph, projected, [h, *state[1:]])
        return end[0], end

    def _scan(
        self, step: CellStep, inputs: str, state: list[str], *, reverse: bool
    ) -> tuple[str, list[str]]:
        """All steps.

        Args:
            step: of the direction.
            inputs: name of [T, B, I].
            state: its parts [B, width].
            reverse: whether it runs from the last step to the first.
        """
        graph = self.graph
        projected = step.project(graph, inputs)
        h = self.dialect.state(graph, state[0], step.layer.hidden)
        before = [graph.unique("state") for _ in state]
        now = graph.unique("projected")
        with graph.body() as nodes:
            after = step.step(graph, now, before)
            seen = graph.node("Identity", after[0])
        body = _body(nodes, [*before, now], [*after, seen], graph.unique("step"))
        directions: dict[str, Any] = {"scan_input_directions": [1], "scan_output_directions": [1]}
        *end, outputs = graph.nodes_of(
            "Scan",
            h,
            *state[1:],
            projected,
            outputs=len(state) + 1,
            body=body,
            num_scan_inputs=1,
            **(directions if reverse else {}),
        )
        return outputs, end


def _body(nodes: list[Any], inputs: list[str], outputs: list[str], name: str) -> Any:
    """A subgraph.

    Args:
        nodes: of it.
        inputs: their names.
        outputs: their names.
        name: of the subgraph.
    """
    from onnx import helper

    entries = [helper.make_tensor_value_info(each, FLOAT, None) for each in inputs]
    exits = [helper.make_tensor_value_info(each, FLOAT, None) for each in outputs]
    return helper.make_graph(nodes, name, entries, exits)
