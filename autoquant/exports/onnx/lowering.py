"""From nodes that name layers to operators of ONNX with packed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autoquant.exports.layers import LinearLayer, StackLayer, TableLayer
from autoquant.exports.markers import LINEAR, ROUNDING, STACK, TABLE
from autoquant.exports.onnx.dialect import Dialect
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.products import Product
from autoquant.exports.onnx.skeleton import DOMAIN, OPSET, skeleton
from autoquant.exports.onnx.stacks import StackGraph
from autoquant.exports.ports import TIME, Port
from autoquant.exports.recording import PREFIX, Recording
from autoquant.exports.stored import Stored
from autoquant.exports.weights import Activation
from autoquant.quantization.codes import Grid

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators of layers whose input has a quantizer."""
CONVOLUTIONS = ("Conv", "ConvTranspose")
IR_VERSION = 10
"""The first one with integers of 4 bits."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """A complete ONNX model.

    Attributes:
        model: an ``onnx.ModelProto``.
        stored: what it holds of each coded or float weight of a layer.
    """

    model: Any
    stored: tuple[Stored, ...]


def lower(recording: Recording, dialect: Dialect) -> Lowered:
    """Build the ONNX model of a recording.

    Args:
        recording: of one step, or of sequences or batches of any size.
        dialect: the operators to use.

    Raises:
        UserError: an operator of the model has no counterpart in ONNX.
    """
    model = skeleton(recording)
    lowering = _Lowering(recording, model.graph, dialect)
    lowering.run()
    return Lowered(_finished(recording, model, lowering.graph), tuple(lowering.stored))


class _Lowering:
    """See ``lower``.

    Args:
        recording: what is exported.
        graph: of the model, with nodes that name layers; changed in place.
        dialect: the operators to use.
    """

    def __init__(self, recording: Recording, graph: Any, dialect: Dialect) -> None:
        self.recording = recording
        self.proto = graph
        self.dialect = dialect
        self.graph = GraphBuilder(_names(graph))
        self.stored: list[Stored] = []
        self.decoded: dict[str, int] = {}  # coded weights by name, with how many axes they have
        self.floats: dict[str, Any] = {}
        self.single = not any(TIME in port.shape for port in recording.inputs) and _is_step(
            recording
        )

    def run(self) -> None:
        """Replace nodes and weights."""
        self._weights()
        for node in self.proto.node:
            if node.domain != DOMAIN:
                _strip(node)
                if node.op_type in CONVOLUTIONS and node.input[1] in self.decoded:
                    self._with_bias_apart(node)
                    continue
                self.graph.nodes.append(node)
                self.graph.domains.add(node.domain)
                continue
            with self.graph.scope(_attributes(node).get("name", "")):
                outputs = self._layer(node, _attributes(node))
            for own, name in zip(outputs, node.output, strict=False):
                self.graph.alias(name, own)

    def _layer(self, node: Any, attributes: dict[str, Any]) -> list[str]:
        """The outputs of what takes a node's place.

        Args:
            node: that names a layer, or a rounding.
            attributes: of the node.
        """
        if node.op_type == ROUNDING:
            grid = Grid(attributes["qmin"], attributes["qmax"], 0.0)
            activation = Activation(attributes["bits"], attributes["scale"], grid)
            round_ = self.dialect.rounded if self._is_input(node) else self.dialect.state
            return [round_(self.graph, node.input[0], activation)]
        layer = self.recording.source.layers[attributes["name"]]
        if node.op_type == LINEAR:
            assert isinstance(layer, LinearLayer)
            job = Product(f"{layer.name}.weight", layer.weight, layer.bias, layer.inputs)
            outputs, stored = self.dialect.product(self.graph, node.input[0], job)
        elif node.op_type == TABLE:
            assert isinstance(layer, TableLayer)
            outputs, stored = self.dialect.lookup(self.graph, node.input[0], layer)
        else:
            assert node.op_type == STACK
            assert isinstance(layer, StackLayer)
            built = StackGraph(self.graph, layer, self.single, self.dialect)
            outputs, last = built.run(node.input[0], [name for name in node.input[1:] if name])
            self.stored += built.stored
            return [outputs, *last]
        self.stored.append(stored)
        return [outputs]

    def _with_bias_apart(self, node: Any) -> None:
        """Add a convolution and, behind it, its bias.

        ONNX Runtime would round a bias inside of it to multiples of the scales' product.

        Args:
            node: a convolution of a coded weight.
        """
        bias, output = [*node.input, ""][2], node.output[0]
        values = self.floats.get(bias)
        self.graph.nodes.append(node)
        if values is None:
            return
        axes = self.decoded[node.input[1]] - 2  # those of space, without the two of units
        shaped = self.graph.constant(values.reshape(-1, *[1] * axes), f"{bias}.shaped")
        del node.input[2:]
        node.output[0] = self.graph.unique("")
        self.graph.node_to("Add", [node.output[0], shaped], [output])

    def _is_input(self, node: Any) -> bool:
        """Whether only products read what a node rounds: it is a layer's input."""
        name = node.output[0]
        readers = [each for each in self.proto.node if name in each.input]
        return all(reader.op_type in PRODUCTS for reader in readers)

    def _weights(self) -> None:
        """Replace the float weights of other layers by their codes."""
        from onnx import numpy_helper

        kept = []
        self.floats = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in self.proto.initializer
            if tensor.name.endswith("bias")
        }
        for tensor in self.proto.initializer:
            name = tensor.name.removeprefix(PREFIX)
            weight = self.recording.source.weights.get(name)
            if weight is None:
                kept.append(tensor)
            else:
                self.decoded[tensor.name] = len(weight.shape)
                self.stored.append(self.dialect.weight(self.graph, tensor.name, name, weight))
        del self.proto.initializer[:]
        self.proto.initializer.extend(kept)


def _is_step(recording: Recording) -> bool:
    """Whether every stack runs one time step."""
    import torch

    steps = [
        node.args[0].meta["val"].shape[0]
        for node in recording.program.graph.nodes
        if node.target == torch.ops.autoquant_export.stack.default
    ]
    return all(str(step) == "1" for step in steps)


def _strip(node: Any) -> None:
    """Take from a node its name and where it came from, which takes most of its bytes."""
    node.ClearField("name")
    node.ClearField("doc_string")
    node.ClearField("metadata_props")
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _strip(inner)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def _names(graph: Any) -> set[str]:
    """All names that a graph uses."""
    names = {tensor.name for tensor in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names |= {node.name, *node.input, *node.output}
    return names


def _finished(recording: Recording, model: Any, graph: GraphBuilder) -> Any:
    """The model with its new nodes, axes with names, and no traces of the translation.

    Args:
        recording: what is exported.
        model: with the old nodes.
        graph: the new ones.
    """
    from onnx import helper

    proto = model.graph
    initializers = [*proto.initializer, *graph.initializers]
    used = {name for node in graph.nodes for name in _reads(node)}
    ports = [*recording.inputs, *(state.port for state in recording.states)]
    results = [*recording.outputs]
    results += [Port(s.next_name, s.port.shape, s.port.dtype) for s in recording.states]
    new = helper.make_graph(
        _without_identities(graph.nodes, {port.name for port in results}),
        "model",
        [_value_info(port) for port in ports],
        [_value_info(port) for port in results],
        [tensor for tensor in initializers if tensor.name in used],
    )
    domains = sorted(graph.domains | {""})
    versions = [helper.make_opsetid(domain, OPSET if not domain else 1) for domain in domains]
    built = helper.make_model(
        new, opset_imports=versions, ir_version=IR_VERSION, producer_name="autoquant"
    )
    built.functions.extend(model.functions)
    return built


def _reads(node: Any) -> list[str]:
    """All names that a node reads, those of its subgraphs too."""
    names = [*node.input]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names += _reads(inner)
    return names


def _without_identities(nodes: list[Any], outputs: set[str]) -> list[Any]:
    """Nodes without Identity, but where it gives an output of the graph its name.

    Args:
        nodes: in order; changed in place.
        outputs: names of the graph's outputs.
    """
    renamed: dict[str, str] = {}
    kept = []
    for node in nodes:
        _rename(node, renamed)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    return _named(kept, outputs)


def _named(nodes: list[Any], outputs: set[str]) -> list[Any]:
    """Nodes whose results have the names of outputs, without an Identity that gives them.

    Args:
        nodes: in order; changed in place.
        outputs: names of the graph's outputs.
    """
    made = {name for node in nodes for name in node.output} - outputs
    renamed: dict[str, str] = {}
    kept = []
    for node in nodes:
        source = node.input[0] if node.input else ""
        if node.op_type == "Identity" and source in made and source not in renamed:
            renamed[source] = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        _rename(node, renamed)
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return kept


def _rename(node: Any, renamed: dict[str, str]) -> None:
    for index, name in enumerate(node.input):
        node.input[index] = renamed.get(name, name)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, renamed)


def _value_info(port: Port) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(str(port.dtype).removeprefix("torch.")))
    return helper.make_tensor_value_info(port.name, kind, list(port.shape))
