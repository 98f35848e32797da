"""The format qonnx: ONNX with Quant nodes, which hold any number of bits without loss.

A Quant node (Pappalardo et al. 2022, "QONNX", section V) computes
``(clip(round(x / scale + zero)) - zero) * scale``, where clip is to the integers of some bits. With
a zero of -1/2 it computes the levels of a midrise grid; ``narrow`` makes three levels of 2 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoquant.errors import UserError, first_line
from autoquant.exports.layers import TableLayer
from autoquant.exports.onnx import activations
from autoquant.exports.onnx.dialect import Dialect
from autoquant.exports.onnx.graph import GraphBuilder
from autoquant.exports.onnx.lowering import lower
from autoquant.exports.onnx.products import Product
from autoquant.exports.onnx.requirements import require
from autoquant.exports.onnx.session import Session
from autoquant.exports.onnx.tables import with_zero_rows
from autoquant.exports.recording import record
from autoquant.exports.stored import Stored
from autoquant.exports.weights import Activation, CodedWeight, Weight
from autoquant.exports.written import Request, Written, export_format, floats_of
from autoquant.files import write_bytes
from autoquant.quantization.codes import Grid

DOMAIN = "qonnx.custom_op.general"
"""Of the Quant node."""


@export_format("qonnx")
def write_qonnx(request: Request) -> Written:
    """See ``Format.__call__``: NAME.qonnx.onnx."""
    require()
    recording = record(request.source)
    lowered = lower(recording, QonnxDialect())
    for key, value in request.metadata.items():
        entry = lowered.model.metadata_props.add()
        entry.key, entry.value = key, value
    path = request.folder / f"{request.name}.qonnx.onnx"
    plain = lower(recording, QonnxDialect(plain=True)).model.SerializeToString()
    try:
        runner = Session(plain)
    except Exception as error:
        raise UserError(f"the graph must load in ONNX Runtime, got {first_line(error)}") from error
    write_bytes(path, lowered.model.SerializeToString())
    return Written(
        (path,),
        path.stat().st_size,
        recording,
        runner,
        lowered.stored,
        floats=floats_of(request.source),
        notes=(
            "scored with each Quant node as plain operators, since ONNX Runtime has no Quant",
            "weights are float32 in the file, as QONNX's tools expect them",
        ),
    )


@dataclass(frozen=True)
class QonnxDialect(Dialect):
    """Quant nodes; a layer's product is one of floats.

    Attributes:
        plain: whether plain operators take the place of Quant nodes, to be run.
    """

    plain: bool = False

    @property
    def operator(self) -> bool:
        """See ``Dialect.operator``."""
        return False

    def rounded(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """See ``Dialect.rounded``."""
        if activation is None or not activation.coded:
            return activations.rounded(graph, values, activation)
        scale = np.array(activation.scale, np.float32)
        return self._quant(graph, values, scale, activation.grid, activation.bits)

    def state(self, graph: GraphBuilder, values: str, activation: Activation | None) -> str:
        """See ``Dialect.state``."""
        return self.rounded(graph, values, activation)

    def product(self, graph: GraphBuilder, values: str, job: Product) -> tuple[str, Stored]:
        """See ``Dialect.product``."""
        matrix, stored = self._floats(graph, job.name, job.weight)
        matrix = graph.node("Transpose", matrix, perm=[1, 0])
        values = values if job.is_rounded else self.rounded(graph, values, job.inputs)
        outputs = graph.node("MatMul", values, matrix)
        if job.bias is not None:
            outputs = graph.node("Add", outputs, graph.constant(job.bias, "bias"))
        return outputs, stored

    def lookup(self, graph: GraphBuilder, indices: str, layer: TableLayer) -> tuple[str, Stored]:
        """See ``Dialect.lookup``."""
        table, stored = self._floats(graph, f"{layer.name}.weight", layer.table)
        rows = graph.node("Gather", table, indices, axis=0)
        return with_zero_rows(graph, indices, rows, layer), stored

    def weight(self, graph: GraphBuilder, output: str, name: str, weight: CodedWeight) -> Stored:
        """See ``Dialect.weight``."""
        with graph.scope(name):
            values, stored = self._floats(graph, name, weight)
            graph.node_to("Identity", [values], [output])
        return stored

    def _floats(self, graph: GraphBuilder, name: str, weight: Weight) -> tuple[str, Stored]:
        """A weight, through a Quant node where it has codes, and what was stored.

        Args:
            graph: gets the nodes.
            name: of the weight.
            weight: its codes or values.
        """
        values = weight.values()
        constant = graph.constant(values, "weight")
        stored = Stored(name, weight.bits, "float32", "Quant", values.nbytes)
        if not isinstance(weight, CodedWeight):
            return constant, stored
        scale = weight.rows_scale.reshape(-1, *[1] * (values.ndim - 1))
        bits = (weight.grid.qmax - weight.grid.qmin).bit_length()
        return self._quant(graph, constant, scale, weight.grid, bits), stored

    def _quant(
        self, graph: GraphBuilder, values: str, scale: np.ndarray, grid: Grid, bits: int
    ) -> str:
        """A Quant node.

        Args:
            graph: gets it.
            values: name of what is rounded.
            scale: broadcasts against the values.
            grid: the codes.
            bits: of a code.
        """
        step, zero = graph.constant(scale, "scale"), np.float32(-grid.offset)
        if self.plain:
            return _plain(graph, values, step, grid)
        narrow = int(grid.qmin < 0 and grid.qmin == -grid.qmax)
        return graph.node(
            "Quant",
            values,
            step,
            graph.constant(zero, "zero"),
            graph.constant(np.float32(bits), "bits"),
            domain=DOMAIN,
            signed=int(grid.qmin < 0),
            narrow=narrow,
            rounding_mode="ROUND",
        )


def _plain(graph: GraphBuilder, values: str, step: str, grid: Grid) -> str:
    """What a Quant node computes, in plain operators.

    Args:
        graph: gets the nodes.
        values: name of what is rounded.
        step: name of the scale.
        grid: the codes.
    """
    levels = graph.node("Div", values, step)
    zero = graph.constant(np.float32(grid.offset), "zero")
    low, high = (graph.constant(np.float32(code), "bound") for code in (grid.qmin, grid.qmax))
    levels = graph.node("Sub", levels, zero) if grid.offset else levels
    levels = graph.node("Clip", graph.node("Round", levels), low, high)
    levels = graph.node("Add", levels, zero) if grid.offset else levels
    return graph.node("Mul", levels, step)
