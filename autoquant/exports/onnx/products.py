"""Products with a weight, whose integers stay packed in memory.

Measured in ONNX Runtime 1.32 at batch 1 (``python -m benchmarks --only exports --match product``):
MatMulNBits in 4 bits is fast with float activations; in 8 and in 2 bits it decodes the whole weight
in every run, unless ``accuracy_level`` 4 rounds the activations a second time (in 2 bits only with
blocks of 32 to 128). MatMulInteger in 8 bits is fast and exact where the activations are codes
already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.exports.onnx.activations import codes, decoded, rounded, zero_point
from autoquant.exports.onnx.graph import CONTRIB, GraphBuilder
from autoquant.exports.onnx.levels import Levels, levels_of, packed
from autoquant.exports.stored import Stored
from autoquant.exports.weights import Activation, CodedWeight, Floats, FloatWeight, Weight

BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of the blocks of a row that share a scale."""
FAST = 4
"""Fewest bits of a weight's integers where speed is preferred."""
SPLIT_ABOVE = 0.1
"""Share of padding above which the columns are split into two products."""


@dataclass(frozen=True, eq=False)
class Product:
    """y = rounded(x) W^T + b.

    Attributes:
        name: of the weight in the model.
        weight: [out, in].
        bias: [out], or None.
        inputs: how x is rounded, or None.
        is_rounded: whether x is rounded already.
    """

    name: str
    weight: Weight
    bias: Floats | None
    inputs: Activation | None
    is_rounded: bool = False

    def rounded(self, graph: GraphBuilder, values: str) -> str:
        """x after its quantizer.

        Args:
            graph: gets the nodes.
            values: name of x.
        """
        return values if self.is_rounded else rounded(graph, values, self.inputs)


def product(
    graph: GraphBuilder, values: str, job: Product, *, least: int = 4
) -> tuple[str, Stored]:
    """Add a product.

    Args:
        graph: gets the nodes.
        values: name of x, [..., in], before it is rounded.
        job: weight, bias and rounding.
        least: fewest bits of the weight's integers: 4, or 2 for a smaller file that runs slower.

    Returns:
        the name of y, and what was stored.
    """
    weight = job.weight
    if isinstance(weight, FloatWeight):
        return _float(graph, job.rounded(graph, values), job, weight)
    levels = levels_of(weight, least)
    coded = job.inputs is not None and job.inputs.coded
    if levels.bits == 8 and coded:
        return _integer(graph, values, job, weight, levels)
    if levels.bits == 8 and (levels.shift or least == FAST):
        return _decoding(graph, job.rounded(graph, values), job, weight)
    return _nbits(graph, job.rounded(graph, values), job, weight, levels)


def _float(
    graph: GraphBuilder, values: str, job: Product, weight: FloatWeight
) -> tuple[str, Stored]:
    """A product with a float weight.

    Args:
        graph: gets the nodes.
        values: name of x, rounded.
        job: weight and bias.
        weight: the same weight.
    """
    dtype = np.float16 if weight.bits == 16 else np.float32
    matrix = graph.constant(np.ascontiguousarray(weight.array.T).astype(dtype), "weight")
    if weight.bits == 16:
        matrix = graph.node("Cast", matrix, to=1)
    outputs = _with_bias(graph, graph.node("MatMul", values, matrix), job.bias)
    bytes_ = weight.array.size * (2 if weight.bits == 16 else 4)
    stored = Stored(
        job.name, weight.bits, f"float{32 if weight.bits > 16 else 16}", "MatMul", bytes_
    )
    return outputs, stored


def _with_bias(graph: GraphBuilder, values: str, bias: Floats | None) -> str:
    """Values with a bias added.

    Args:
        graph: gets the nodes.
        values: their name.
        bias: [out], or None.
    """
    return values if bias is None else graph.node("Add", values, graph.constant(bias, "bias"))


# --- 8 bits --------------------------------------------------------------------------------------


def _integer(
    graph: GraphBuilder, values: str, job: Product, weight: CodedWeight, levels: Levels
) -> tuple[str, Stored]:
    """A product of integer codes: exact sums, then one multiplication.

    Args:
        graph: gets the nodes.
        values: name of x.
        job: bias and rounding.
        weight: the weight.
        levels: its integers, of 8 bits.
    """
    inputs = job.inputs
    assert inputs is not None
    coded = codes(graph, values, inputs)
    matrix = graph.constant(np.ascontiguousarray(levels.integers.T), "weight")
    zero = zero_point(graph, inputs)
    sums = graph.node("Cast", graph.node("MatMulInteger", coded, matrix, zero), to=1)
    if levels.shift:
        total = decoded(graph, coded, Activation(inputs.bits, 1.0, inputs.grid))
        total = graph.node("ReduceSum", total, graph.constant([-1], "axes", np.int64), keepdims=1)
        sums = graph.node(
            "Add", sums, graph.node("Mul", total, graph.constant(np.float32(levels.shift), "shift"))
        )
    scale = levels.scale * np.float32(inputs.scale)
    outputs = graph.node("Mul", sums, graph.constant(scale, "scale"))
    size = levels.integers.size
    stored = Stored(job.name, weight.bits, "int8", "MatMulInteger", size, scale.nbytes)
    return _with_bias(graph, outputs, job.bias), stored


def _decoding(
    graph: GraphBuilder, values: str, job: Product, weight: CodedWeight
) -> tuple[str, Stored]:
    """A product with a weight of 8 bits that is decoded: once, where the session is made.

    MatMulNBits decodes such a weight in every run, which takes fifty times as long.

    Args:
        graph: gets the nodes.
        values: name of x, rounded.
        job: bias.
        weight: the weight.
    """
    codes_ = graph.constant(np.ascontiguousarray(weight.codes.T), "weight")
    matrix = graph.node("Cast", codes_, to=1)
    if weight.grid.offset:
        matrix = graph.node("Add", matrix, graph.constant(np.float32(weight.grid.offset), "offset"))
    sums = graph.node("MatMul", values, matrix)
    outputs = graph.node("Mul", sums, graph.constant(weight.rows_scale, "scale"))
    size, operator = weight.codes.size, "MatMul, float in memory"
    stored = Stored(job.name, weight.bits, "int8", operator, size, 4 * weight.shape[0])
    return _with_bias(graph, outputs, job.bias), stored


# --- 2 and 4 bits, and 8 with float activations --------------------------------------------------


def _nbits(
    graph: GraphBuilder, values: str, job: Product, weight: CodedWeight, levels: Levels
) -> tuple[str, Stored]:
    """A product with packed integers, by MatMulNBits.

    Args:
        graph: gets the nodes.
        values: name of x, rounded.
        job: bias.
        weight: the weight.
        levels: its integers.
    """
    columns = levels.integers.shape[1]
    parts = split_columns(columns, levels.bits)
    total, bias, code_bytes, scale_bytes = "", job.bias, 0, 0
    for first, end, block in parts:
        part = values
        if len(parts) > 1:
            bounds = (graph.constant([at], "bound", np.int64) for at in (first, end, -1))
            part = graph.node("Slice", values, *bounds)
        inside = levels.integers[:, first:end]
        result, stored_bytes, stored_scales = _one(graph, part, inside, levels, block, bias)
        total = graph.node("Add", total, result) if total else result
        bias = None
        code_bytes += stored_bytes
        scale_bytes += stored_scales
    if levels.shift:
        half = graph.constant(levels.scale * np.float32(levels.shift), "half_scale")
        axes = graph.constant([-1], "axes", np.int64)
        sums = graph.node("ReduceSum", values, axes, keepdims=1)
        total = graph.node("Add", total, graph.node("Mul", sums, half))
        scale_bytes += levels.scale.nbytes
    exact = -(-levels.integers.size * levels.bits // 8)
    operator = "MatMulNBits" if len(parts) == 1 else "2 x MatMulNBits"
    stored = Stored(
        job.name,
        weight.bits,
        f"int{levels.bits}",
        operator,
        code_bytes,
        scale_bytes,
        code_bytes - exact,
    )
    return total, stored


def _one(
    graph: GraphBuilder,
    values: str,
    integers: NDArray[np.int8],
    levels: Levels,
    block: int,
    bias: Floats | None,
) -> tuple[str, int, int]:
    """One MatMulNBits.

    Args:
        graph: gets the node.
        values: name of x, [..., columns].
        integers: [rows, columns].
        levels: the whole weight, for its scales and bits.
        block: columns of a block.
        bias: [rows], or None.

    Returns:
        the name of the result, bytes of the integers, bytes of the scales.
    """
    rows, columns = integers.shape
    blocks = -(-columns // block)
    padded = np.pad(integers, ((0, 0), (0, blocks * block - columns)))
    codes_ = packed(padded.reshape(rows, blocks, block), levels.bits)
    scale = np.repeat(levels.scale[:, None], blocks, 1)
    names = [values, graph.constant(codes_, "weight"), graph.constant(scale, "scale")]
    names += [] if bias is None else ["", "", graph.constant(bias, "bias")]
    options = {"K": columns, "N": rows, "bits": levels.bits, "block_size": block}
    result = graph.node("MatMulNBits", *names, domain=CONTRIB, **options)
    return result, codes_.nbytes, scale.nbytes


def split_columns(columns: int, bits: int) -> list[tuple[int, int, int]]:
    """How the columns of a weight are divided into products, and into blocks that share a scale.

    A row is padded to whole blocks, and each block stores a scale: the block is chosen that takes
    the fewest bytes. Where padding then exceeds a tenth, the columns are split in two.

    >>> split_columns(300, 4), split_columns(20, 4)
    ([(0, 300, 64)], [(0, 16, 16), (16, 20, 16)])

    Args:
        columns: of the weight.
        bits: of an integer.

    Returns:
        first column, end and size of the blocks, for each product.
    """
    whole = (0, columns, _best_block(columns, bits))
    if _padding(columns, whole[2]) <= SPLIT_ABOVE * columns:
        return [whole]
    options = [[whole]]
    for block in BLOCKS:
        first = columns // block * block
        if first and first < columns:
            parts = [(0, first), (first, columns)]
            options.append([(a, b, _best_block(b - a, bits)) for a, b in parts])

    def cost(parts: list[tuple[int, int, int]]) -> tuple[int, int]:
        return (
            sum(_bytes(b - a, block, bits) for a, b, block in parts),
            sum(_padding(b - a, block) for a, b, block in parts),
        )

    return min(options, key=cost)


def row_bytes(columns: int, bits: int) -> int:
    """Bytes of a row of a weight: its integers, padded, and its scales.

    Args:
        columns: of the weight.
        bits: of an integer, 2 or 4.
    """
    return sum(
        _bytes(end - first, block, bits) for first, end, block in split_columns(columns, bits)
    )


def _best_block(columns: int, bits: int) -> int:
    return min(BLOCKS, key=lambda block: (_bytes(columns, block, bits), -block))


def _padding(columns: int, block: int) -> int:
    return -columns % block


def _bytes(columns: int, block: int, bits: int) -> int:
    """Bytes of a row: its integers, padded, and its scales.

    Args:
        columns: of the weight.
        block: columns that share a scale.
        bits: of an integer.
    """
    blocks = -(-columns // block)
    return blocks * (block * bits // 8 + 4)
