"""Products with a packed weight in ONNX Runtime, which the ONNX export chooses among."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoquant.exports.onnx.graph import CONTRIB
from autoquant.exports.onnx.levels import packed
from autoquant.exports.onnx.session import Session
from benchmarks.case import Call, Case, Variant
from benchmarks.checks import close_to

SHAPES = ((1200, 300, 64), (2048, 2048, 256))
"""Rows and columns of a weight, and columns of a block, which share a scale."""
TWO_BITS_BLOCK = 128
"""The largest block for which ONNX Runtime has a fast product in 2 bits, at accuracy level 4."""
BITS, LEVELS = (4, 2, 8), (0, 4)
INPUT_SCALE, WEIGHT_SCALE = 0.02, 0.01
FLOAT_TYPE, OPSET, IR_VERSION = 1, 21, 10
# Level 4 rounds the inputs to 8 bits again.
EXACT, ROUNDED = 1e-4, 0.02


def cases(group: str) -> Iterator[Case]:
    """A case for each shape.

    Args:
        group: that they belong to.
    """
    for rows, columns, block in SHAPES:
        label = f"product {rows} x {columns}"
        title = f"{label}: time of a product in ONNX Runtime, batch 1"
        yield Case(group, title, label, tuple(_variants(rows, columns, block)))


def _variants(rows: int, columns: int, block: int) -> Iterator[Variant]:
    for bits in BITS:
        weight = partial(_weight, rows, columns, bits)
        for level in LEVELS:
            check = close_to(partial(_expected, weight), ROUNDED if level else EXACT)
            name = f"MatMulNBits, {bits} bits, accuracy level {level}"
            yield Variant(name, partial(_nbits, weight, bits, block, level), check)
    if block > TWO_BITS_BLOCK:
        weight = partial(_weight, rows, columns, 2)
        check = close_to(partial(_expected, weight), ROUNDED)
        name = f"MatMulNBits, 2 bits, accuracy level 4, blocks of {TWO_BITS_BLOCK}"
        yield Variant(name, partial(_nbits, weight, 2, TWO_BITS_BLOCK, 4), check)
    weight = partial(_weight, rows, columns, 8)
    check = close_to(partial(_expected, weight), EXACT)
    yield Variant("MatMulInteger, 8 bits", partial(_integer, weight), check)
    yield Variant("Cast and MatMul, 8 bits", partial(_cast, weight), check)


def _weight(rows: int, columns: int, bits: int) -> NDArray[np.int8]:
    half, random = 1 << bits - 1, np.random.default_rng(0)
    return random.integers(-half, half, (rows, columns)).astype(np.int8)


def _inputs(columns: int) -> NDArray[np.int16]:
    """Codes of 8 bits."""
    return np.random.default_rng(1).integers(-127, 128, (1, columns)).astype(np.int16)


def _expected(weight: Any) -> dict[str, Tensor]:
    integers = weight().astype(np.float64)
    product = _inputs(integers.shape[1]).astype(np.float64) @ integers.T
    return {"y": torch.from_numpy(product * INPUT_SCALE * WEIGHT_SCALE)}


# --- graphs --------------------------------------------------------------------------------------


def _nbits(weight: Any, bits: int, block: int, level: int) -> Call:
    """MatMulNBits.

    Args:
        weight: makes the integers.
        bits: of them.
        block: columns that share a scale.
        level: 0 computes in float32, 4 with inputs of 8 bits.
    """
    integers = weight()
    rows, columns = integers.shape
    blocks = -(-columns // block)
    padded = np.pad(integers, ((0, 0), (0, blocks * block - columns)))
    tensors = {
        "weight": packed(padded.reshape(rows, blocks, block), bits),
        "scale": np.full((rows, blocks), WEIGHT_SCALE, np.float32),
    }
    options = {"K": columns, "N": rows, "bits": bits, "block_size": block}
    node = ("MatMulNBits", ["x", "weight", "scale"], "y")
    return _call([node], tensors, columns, domain=CONTRIB, accuracy_level=level, **options)


def _integer(weight: Any) -> Call:
    """MatMulInteger with inputs rounded to codes before, as the export has it."""
    integers = weight()
    nodes = [
        ("QuantizeLinear", ["x", "input_scale", "zero"], "codes"),
        ("MatMulInteger", ["codes", "weight", "zero"], "sums"),
        ("Cast", ["sums"], "floats"),
        ("Mul", ["floats", "scale"], "y"),
    ]
    tensors = {
        "weight": np.ascontiguousarray(integers.T),
        "input_scale": np.array(INPUT_SCALE, np.float32),
        "zero": np.array(128, np.uint8),
        "scale": np.full(len(integers), INPUT_SCALE * WEIGHT_SCALE, np.float32),
    }
    return _call(nodes, tensors, integers.shape[1])


def _cast(weight: Any) -> Call:
    """MatMul with a weight that is decoded where the session is made."""
    integers = weight()
    nodes = [
        ("Cast", ["weight"], "matrix"),
        ("MatMul", ["x", "matrix"], "sums"),
        ("Mul", ["sums", "scale"], "y"),
    ]
    tensors = {
        "weight": np.ascontiguousarray(integers.T),
        "scale": np.full(len(integers), WEIGHT_SCALE, np.float32),
    }
    return _call(nodes, tensors, integers.shape[1])


def _call(
    nodes: list[tuple[str, list[str], str]],
    tensors: dict[str, NDArray[Any]],
    columns: int,
    **options: Any,
) -> Call:
    """A call of a graph.

    Args:
        nodes: operator, inputs and output of each.
        tensors: the constants by name.
        columns: of the inputs.
        **options: attributes of a node that is alone.
    """
    from onnx import helper, numpy_helper

    single = options if len(nodes) == 1 else {}
    made = [helper.make_node(kind, names, [name], **single) for kind, names, name in nodes]
    made = [_to_float(node) for node in made]
    graph = helper.make_graph(
        made,
        "product",
        [helper.make_tensor_value_info("x", FLOAT_TYPE, [1, columns])],
        [helper.make_tensor_value_info("y", FLOAT_TYPE, [1, None])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    session = Session(model.SerializeToString())
    feed = {"x": _inputs(columns).astype(np.float32) * np.float32(INPUT_SCALE)}
    return lambda: {"y": torch.from_numpy(session(feed)["y"])}


def _to_float(node: Any) -> Any:
    """A node with the attribute that a Cast needs."""
    from onnx import helper

    if node.op_type == "Cast":
        node.attribute.append(helper.make_attribute("to", FLOAT_TYPE))
    return node
