"""The trace of a forward pass, and which layers' units each value along it is made of.

The forward pass is traced symbolically (torch.fx), with every known layer as one node. Along the
trace each value carries the *layout* of its last axis: which layers' units it is made of, in
order. Elementwise operations keep a layout, adding two values ties them, anything else that is met
freezes the layers whose units it would see, and says so.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.stack import Recurrent
from autoquant.network import Layout, Segment

_ELEMENTWISE_MODULES = (
    nn.Dropout,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
)
_ELEMENTWISE_FUNCTIONS = {
    *(F.dropout, F.relu, F.gelu, F.silu, F.elu, F.leaky_relu, F.hardtanh, F.tanh, F.sigmoid),
    *(torch.relu, torch.tanh, torch.sigmoid, torch.clamp, torch.neg, torch.abs),
    *(operator.neg, operator.add, operator.sub, operator.mul, operator.truediv),
    *(torch.add, torch.sub, torch.mul),
}
_ELEMENTWISE_METHODS = {
    *("relu", "tanh", "sigmoid", "clamp", "clamp_", "relu_", "add", "add_", "mul", "mul_", "neg"),
    *("contiguous", "clone", "detach", "float"),
}
_CASTS = {"to", "type_as"}  # methods whose other arguments lend only a type
_PACKING = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)  # move rows, keep the last axis


@dataclass(frozen=True)
class _States:
    """A recurrent state: it may go in and out of the model, nothing else may look inside."""

    layout: Layout


class _Tracer(fx.Tracer):
    """Known layers, and the functions that pack and pad sequences, are one node each."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=_PACKING)
        self._autowrap_search.append(rnn)  # also where user code says rnn.pack_padded_sequence

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = kind_of(m) is not None or isinstance(m, Recurrent)
        return known or super().is_leaf_module(m, module_qualified_name)


class Walk:
    """One pass over the traced nodes, in order."""

    def __init__(self, model: nn.Module, layers: tuple[LayerSpec, ...]) -> None:
        self.model = model
        self.layers = {layer.name: layer for layer in layers}
        self.inputs: dict[str, Layout] = {
            layer.name: (Segment(None, layer.features),) if layer.multiplies else ()
            for layer in layers
        }
        self.dropouts: dict[str, float] = {}
        self._parents = {layer.name: layer.name for layer in layers}
        self._frozen: dict[str, str] = {}
        self._seen: set[str] = set()
        self._values: dict[fx.Node, Any] = {}

    def run(self) -> None:
        if isinstance(self.model, Recurrent) or kind_of(self.model) is not None:
            self._freeze_all("feeds the model's output")
            return
        try:
            graph = _Tracer().trace(self.model)
        except Exception as error:  # whatever the user's forward raises while it is traced
            self._freeze_all(f"the model could not be traced: {_first_line(error)}")
            return
        for node in graph.nodes:
            self._values[node] = self._visit(node)
        for name in self.layers:
            if name not in self._seen:
                self._freeze((Segment(name, 0),), "is not called where the trace can see it")

    def groups(self) -> dict[str, str]:
        return {name: self._find(name) for name in self.layers}

    def frozen_groups(self) -> dict[str, str]:
        return {self._find(name): reason for name, reason in self._frozen.items()}

    # nodes

    def _visit(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return None
        if node.op == "call_module":
            return self._visit_module(node)
        if node.op == "output":
            for value in self._arguments(node):
                if not isinstance(value, _States):
                    self._freeze(value, "feeds the model's output")
            return None
        if node.op == "get_attr":
            return None
        return self._visit_operation(node)

    def _visit_module(self, node: fx.Node) -> Any:
        name = str(node.target)
        module = self.model.get_submodule(name)
        values = self._arguments(node)
        given = values[0] if values else None
        if isinstance(module, Recurrent):
            for state in values[1:]:
                if not isinstance(state, _States):
                    self._freeze(state, f"sets the initial state of {name}")
            return self._visit_recurrent(name, module, given, self._dropout_before(node))
        if name in self.layers:
            return self._visit_layer(name, given, self._dropout_before(node))
        if isinstance(module, _ELEMENTWISE_MODULES):
            return given
        return self._stop(values, f"is read by {name} ({type(module).__name__}), not followed")

    def _visit_recurrent(self, name: str, stack: Recurrent, given: Any, dropout: float) -> Any:
        layout = given
        states: list[Segment] = []
        for i in range(stack.num_layers):
            layout = self._visit_layer(f"{name}.l{i}" if name else f"l{i}", layout, dropout)
            states += layout
            dropout = stack.dropout
        return (layout, _States(tuple(states)))

    def _visit_layer(self, name: str, given: Any, dropout: float) -> Layout:
        layer = self.layers[name]
        if layer.multiplies:
            if name in self._seen and dropout != self.dropouts.get(name, 0.0):
                self.dropouts.pop(name, None)  # called at two places, with different dropout
            elif dropout:
                self.dropouts[name] = dropout
            if isinstance(given, _States):
                self._freeze(given, f"is read by {name}, as a state")
            layout = given if isinstance(given, tuple) else (Segment(None, layer.features),)
            again = name in self._seen and layout != self.inputs[name]
            if again or sum(segment.size for segment in layout) != layer.features:
                reason = f"is read by {name} in more than one way"
                self._freeze(layout, reason)
                self._freeze(self.inputs[name], reason)
                layout = (Segment(None, layer.features),)
            self.inputs[name] = layout
        self._seen.add(name)
        return (Segment(name, layer.units),) * layer.directions

    def _dropout_before(self, node: fx.Node) -> float:
        """The probability of the dropout whose output a layer reads."""
        source = node.args[0] if node.args else None
        while isinstance(source, fx.Node) and _keeps_rows(source):
            source = source.args[0]
        if not isinstance(source, fx.Node):
            return 0.0
        if source.op == "call_module":
            module = self.model.get_submodule(str(source.target))
            return module.p if isinstance(module, nn.Dropout) else 0.0
        if source.target is F.dropout:
            given = source.args[1] if len(source.args) > 1 else source.kwargs.get("p", 0.5)
            return given if isinstance(given, float) else 0.0
        return 0.0

    def _visit_operation(self, node: fx.Node) -> Any:
        values = self._arguments(node)
        if node.target is operator.getitem:
            container, index = node.args
            value = self._values[container] if isinstance(container, fx.Node) else None
            if isinstance(value, tuple) and value and not isinstance(value[0], Segment):
                return value[index] if isinstance(index, int) else self._stop([value], "is sliced")
            if isinstance(value, _States) and isinstance(index, int) and self._is_pair(container):
                return value  # h or c of an LSTM's (h, c)
        elif node.target in _ELEMENTWISE_FUNCTIONS or node.target in _ELEMENTWISE_METHODS:
            return self._elementwise(values)
        elif node.target in _CASTS:
            return values[0]
        elif _keeps_rows(node) and not isinstance(values[0], _States):
            self._stop(values[1:], "says how long sequences are")
            return (values[0], None) if node.target is rnn.pad_packed_sequence else values[0]
        shown = getattr(node.target, "__name__", str(node.target))
        return self._stop(values, f"is read by '{shown}' in forward, not followed")

    def _is_pair(self, node: Any) -> bool:
        """Whether a node is the state (h, c) itself, not yet h or c."""
        source = node.args[0] if node.target is operator.getitem else None
        if not (isinstance(source, fx.Node) and source.op == "call_module"):
            return False
        stack = self.model.get_submodule(str(source.target))
        return isinstance(stack, Recurrent) and stack.layers[0].cell.kind == "lstm"

    def _elementwise(self, values: list[Any]) -> Any:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return self._stop(known, "is combined with a value whose units cannot grow")
        if any(isinstance(value, _States) for value in known):
            return (
                known[0] if len(known) == 1 else self._stop(known, "is computed with, as a state")
            )
        first: Any = known[0] if known else None
        for other in known[1:]:
            first = self._tie(first, other)
        return first

    def _tie(self, one: Layout, other: Layout) -> Layout:
        """Two layouts that are added: their segments must match, and grow together."""
        if [segment.size for segment in one] != [segment.size for segment in other]:
            self._freeze(one + other, "is combined with another layout, not followed")
            return one
        for mine, theirs in zip(one, other, strict=True):
            if mine.group is None or theirs.group is None:
                self._freeze((mine, theirs), "is combined with a value whose units cannot grow")
            else:
                self._union(mine.group, theirs.group)
        return one

    def _arguments(self, node: fx.Node) -> list[Any]:
        found: list[Any] = []
        fx.map_arg((node.args, node.kwargs), lambda each: found.append(self._values[each]))
        return found

    # groups

    def _stop(self, values: list[Any], reason: str) -> None:
        for value in values:
            self._freeze(value, reason)

    def _freeze(self, value: Any, reason: str) -> None:
        if isinstance(value, _States):
            value = value.layout
        for part in value or ():
            if not isinstance(part, Segment):
                self._freeze(part, reason)
            elif part.group is not None:
                self._frozen.setdefault(part.group, reason)

    def _freeze_all(self, reason: str) -> None:
        self._frozen = dict.fromkeys(self.layers, reason)

    def _find(self, name: str) -> str:
        while self._parents[name] != name:
            name = self._parents[name]
        return name

    def _union(self, one: str, other: str) -> None:
        order = list(self.layers)
        first, second = sorted((self._find(one), self._find(other)), key=order.index)
        self._parents[second] = first


def _keeps_rows(node: fx.Node) -> bool:
    """Whether a node packs, pads or takes the data of what it is given first."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    return node.target in _PACKING or (node.target is getattr and node.args[1] == "data")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
