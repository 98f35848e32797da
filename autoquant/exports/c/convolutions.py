"""Convolutions, pooling, and the normalization of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from autoquant.exports.c.lowering import Lowering, Value, arguments, lowers, name_of
from autoquant.exports.c.marked import bits_text, codes_of, note_floats, pointer
from autoquant.exports.c.memory import View
from autoquant.exports.c.places import refused
from autoquant.exports.c.weights import Product, is_unsigned, matrix
from autoquant.exports.weights import Activation, CodedWeight, Floats, FloatWeight
from autoquant.quantization.codes import Grid

NORMS = "_native_batch_norm_legit_no_training"
POOLS = {"max_pool2d_with_indices": "max_pool", "avg_pool2d": "average_pool"}


def _two(values: Any, default: int) -> tuple[int, int]:
    """A setting along height and width; of a sequence along its one axis.

    Args:
        values: a number, or one or two of them.
        default: along the axis that a sequence does not have, or where there are no values.
    """
    numbers = [values] if isinstance(values, int) else [*values]
    if not numbers:
        return default, default
    return (default, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _structure(
    lowering: Lowering, x: Sequence[int], y: Sequence[int], groups: int, settings: dict[str, Any]
) -> str:
    """Name of a ``convolution`` structure.

    Args:
        lowering: that has the data.
        x: shape of the input [N, C, H, W] or [N, C, T].
        y: shape of the output.
        groups: of channels.
        settings: kernel, stride, pad and step, each along height and width.
    """
    height, width = ([1, *x[2:]])[-2:]
    out_height, out_width = ([1, *y[2:]])[-2:]
    fields = {
        "channels": x[1],
        "height": height,
        "width": width,
        "out_channels": y[1],
        "out_height": out_height,
        "out_width": out_width,
        "groups": groups,
    }
    for key, pair in settings.items():
        fields[f"{key}_y"], fields[f"{key}_x"] = pair
    text = ",\n".join(f"    .{key} = {value}" for key, value in fields.items())
    return lowering.data.structure("convolution", "data_convolution", text)


def _per_image(view: View) -> int:
    return view.size // view.shape[0]


@lowers("convolution")
def _convolution(lowering: Lowering, node: Node) -> Value:
    source, weight_node = arguments(node)[:2]
    stride, padding, dilation, transposed, _, groups = arguments(node)[3:9]
    if transposed:
        raise refused(node, "a transposed one is not supported")
    product = product_of(lowering, source, weight_node)
    scale, bias, name = _folded(lowering, node)
    product = _scaled(product, scale)
    layer = lowering.layer
    note_floats(lowering, layer, product)
    weight = lowering.known(weight_node)
    assert weight is not None
    cost = lowering.cost("convolution", bits_text(product.weight))
    out = lowering.result(cost)
    x = source.meta["val"].shape
    settings = {
        "kernel": _two([*weight.shape[2:]], 1),
        "stride": _two(stride, 1),
        "pad": _two(padding, 0),
        "step": _two(dilation, 1),
    }
    k = _structure(lowering, x, out.shape, int(groups), settings)
    use = "unpack" if product.coded else "decode"
    w = matrix(lowering.data, f"data_{layer}", layer, product, bias, use)
    _convolve(lowering, source, product, out, (k, w))
    if name is not None:
        lowering.values[name] = (out,)
    return out


def _convolve(
    lowering: Lowering, source: Node, product: Product, out: View, names: tuple[str, str]
) -> None:
    """The statement of a convolution.

    Args:
        lowering: gets it.
        source: the input.
        product: how it is multiplied.
        out: the result.
        names: of the structures of the convolution and the weight.
    """
    cost = lowering.cost("convolution", bits_text(product.weight))
    k, w = names
    scratch = lowering.new((product.scratch,), "int8_t", cost) if product.scratch else None
    if product.coded:
        x = codes_of(lowering, source)
        size = (x.size - 7) // out.shape[0]
        kind = "uint8_t" if is_unsigned(product.inputs) else "int8_t"
        call, rest, row = f"convolve_{kind}", f", {pointer(scratch)}", None
    else:
        x = lowering.contiguous(lowering.view(source))
        size = _per_image(x)
        row = lowering.new((product.weight.shape[1],), "float", cost)
        call, rest = "convolve_floats", f", {row.pointer}, {pointer(scratch)}"
    images(lowering, f"{call}(&{k}, &{w}, @x, @y{rest});", (x, size), out, (scratch, row))


def images(
    lowering: Lowering,
    call: str,
    source: tuple[View, int],
    out: View,
    more: Sequence[View | None] = (),
) -> None:
    """A statement that is repeated for each image of a batch.

    Args:
        lowering: gets it.
        call: with @x and @y for the addresses of an image and of its result.
        source: the images, and the entries of one.
        out: the results.
        more: further memory that the statement uses.
    """
    x, size = source
    count = out.shape[0]
    if count == 1:
        text = call.replace("@x", x.pointer).replace("@y", out.pointer)
    else:
        call = call.replace("@x", f"{x.pointer} + n * {size}")
        call = call.replace("@y", f"{out.pointer} + n * {_per_image(out)}")
        text = f"for (int32_t n = 0; n < {count}; n++)\n    {call}"
    lowering.emit(text, x, out, *more)


def product_of(lowering: Lowering, source: Node, weight_node: Node) -> Product:
    """The weight of a convolution and how its inputs are rounded.

    Args:
        lowering: that knows the program's parameters.
        source: the input.
        weight_node: the weight.
    """
    weight = lowering.known(weight_node)
    assert weight is not None
    coded = lowering.coded_weight(weight_node)
    rows = weight.shape[0]
    if coded is None:
        values = weight.numpy().reshape(rows, -1).astype(np.float32)
        return Product(FloatWeight(values, 32), activation_of(source))
    flat = CodedWeight(coded.codes.reshape(rows, -1), coded.scale, coded.grid, coded.bits)
    return Product(flat, activation_of(source))


def activation_of(node: Node) -> Activation | None:
    """How a value is rounded, or None.

    Args:
        node: that computes it.
    """
    if str(node.target) != "autoquant_export.rounding.default":
        return None
    scale, low, high, bits = (float(value) for value in arguments(node)[1:5])
    return Activation(int(bits), scale, Grid(int(low), int(high), 0.0))


def _folded(lowering: Lowering, node: Node) -> tuple[Any, Floats | None, Node | None]:
    """What a normalization that follows multiplies by, the bias with it, and the normalization.

    Args:
        lowering: that knows the program's parameters.
        node: a convolution.
    """
    given = lowering.known(arguments(node)[2])
    bias = None if given is None else given.numpy().astype(np.float32)
    user = next(iter(node.users))
    coded = lowering.coded_weight(arguments(node)[1]) is not None
    if not coded or len(node.users) > 1 or name_of(user) != NORMS:
        return None, bias, None
    scale, shift = affine_of(lowering, user)
    before = 0.0 if bias is None else bias.astype(np.float64)
    return scale, (before * scale + shift).astype(np.float32), user


def _scaled(product: Product, scale: Any) -> Product:
    """A product whose rows are multiplied by numbers; see ``_folded``."""
    weight = product.weight
    if scale is None or not isinstance(weight, CodedWeight):
        return product
    scales = (weight.rows_scale.astype(np.float64) * scale).astype(np.float32)
    return Product(CodedWeight(weight.codes, scales, weight.grid, weight.bits), product.inputs)


def affine_of(lowering: Lowering, node: Node) -> tuple[Any, Any]:
    """Scale and shift of each channel of a normalization, in float64.

    Args:
        lowering: that knows the program's parameters.
        node: the normalization.
    """
    known = [lowering.known(argument) for argument in arguments(node)[1:5]]
    gain, shift, mean, variance = (None if v is None else v.double().numpy() for v in known)
    assert mean is not None
    assert variance is not None
    scale = 1 / np.sqrt(variance + float(arguments(node)[6]))
    scale = scale if gain is None else scale * gain
    return scale, (0.0 if shift is None else shift) - mean * scale


@lowers(NORMS)
def _batch_norm(lowering: Lowering, node: Node) -> Value:
    if node in lowering.values:  # a convolution has it
        return lowering.values[node]
    source = lowering.view(arguments(node)[0])
    out = lowering.result(lowering.cost("batch_norm"), 0)
    spread = (-1, *[1] * (len(out.shape) - 2))
    pair = [
        lowering.constant(torch.tensor(v, dtype=torch.float32).reshape(spread), f"{node.name}_{n}")
        for v, n in zip(affine_of(lowering, node), ("scale", "shift"), strict=True)
    ]
    lowering.each(out, [source, *pair], "{0} * {1} + {2}")
    return (out,)


@lowers(*POOLS)
def _pool(lowering: Lowering, node: Node) -> Value:
    name = POOLS[name_of(node)]
    given = [*arguments(node)[1:], *[None] * 6]
    kernel = _two(given[0], 1)
    stride = _two(given[1] or [], 1) if given[1] else kernel
    step, ceil, divisor = (1, 1), given[3], given[5]
    includes = given[4] is not False
    if name == "max_pool":
        step, ceil, divisor = _two(given[3] or [], 1), given[4], None
    x = lowering.contiguous(lowering.view(arguments(node)[0]))
    if len(x.shape) != 4:
        raise refused(node, f"its input must have 4 axes, got {len(x.shape)}")
    pad = _two(given[2] or [], 0)
    out = lowering.result(lowering.cost(name), 0 if name == "max_pool" else None)
    settings = {"kernel": kernel, "stride": stride, "pad": pad, "step": step}
    k = _structure(lowering, x.shape, out.shape, 1, settings)
    if name == "max_pool":
        images(lowering, f"max_pool(&{k}, @x, @y);", (x, _per_image(x)), out)
        return (out,)
    if ceil and includes and divisor is None:
        raise refused(node, "ceil_mode needs count_include_pad=False")
    count = divisor or (kernel[0] * kernel[1] if includes else 0)
    images(lowering, f"average_pool(&{k}, @x, {count}, @y);", (x, _per_image(x)), out)
    return out


@lowers("_adaptive_avg_pool2d")
def _adaptive(lowering: Lowering, node: Node) -> Value:
    x, out = (
        lowering.contiguous(lowering.view(arguments(node)[0])),
        lowering.result(lowering.cost("average_pool")),
    )
    if len(x.shape) != 4:
        raise refused(node, f"its input must have 4 axes, got {len(x.shape)}")
    k = _structure(lowering, x.shape, out.shape, 1, {})
    images(lowering, f"adaptive_average_pool(&{k}, @x, @y);", (x, _per_image(x)), out)
    return out
