"""Weights and roundings of an exported program as C structures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError
from autoquant.exports.c import code_rows
from autoquant.exports.c.data import Data
from autoquant.exports.c.literals import literal
from autoquant.exports.weights import Activation, CodedWeight, Floats, FloatWeight, Weight

MOST = 2**31 - 1
"""Of the sum of a product of codes."""


@dataclass(frozen=True)
class Product:
    """How a weight is multiplied with inputs.

    Attributes:
        weight: [rows, columns], with codes or without.
        inputs: how its inputs are rounded, or None.
    """

    weight: Weight
    inputs: Activation | None

    @property
    def coded(self) -> bool:
        """Whether codes are multiplied with codes."""
        return isinstance(self.weight, CodedWeight) and is_coded(self.inputs)

    @property
    def reason(self) -> str:
        """Why floats are multiplied; "" where codes are."""
        if self.coded:
            return ""
        if not isinstance(self.weight, CodedWeight):
            return f"its weight has {self.weight.bits} bits"
        bits = 32 if self.inputs is None else self.inputs.bits
        if bits <= 8:
            return "its inputs are not clipped"
        return f"its inputs have {bits} bits"

    @property
    def scratch(self) -> int:
        """Bytes for codes: of a row of inputs, or of the weight."""
        has_codes = isinstance(self.weight, CodedWeight)
        return self.weight.shape[1] + code_rows.PADDING if has_codes else 0


def is_coded(activation: Activation | None) -> bool:
    """Whether an activation has codes.

    Args:
        activation: a rounding, or None.
    """
    return activation is not None and activation.coded


def matrix(
    data: Data, name: str, layer: str, product: Product, bias: Floats | None, use: str = "product"
) -> str:
    """Name of the structure of a weight.

    Args:
        data: gets it.
        name: what it is called like.
        layer: that it belongs to.
        product: the weight and its inputs.
        bias: [rows], or None.
        use: "product", "decode" (rows as floats) or "unpack" (rows as codes).
    """
    weight = product.weight
    rows, columns = weight.shape
    fields = {"rows": str(rows), "columns": str(columns)}
    if bias is not None:
        fields["bias"] = data.array(f"{name}_bias", bias.astype(np.float32), layer)
    if isinstance(weight, CodedWeight):
        fields |= _coded(data, name, layer, product, use)
    else:
        array, form = stored_floats(weight)
        fields["data"] = data.array(name, array, layer)
        fields["product" if use == "product" else "decode"] = f"{_verb(use)}_{form}"
    text = ",\n".join(f"    .{key} = {value}" for key, value in sorted(fields.items()))
    return data.structure("matrix", f"{name}_matrix", text)


def _verb(use: str) -> str:
    return "product" if use == "product" else "decode"


def _coded(data: Data, name: str, layer: str, product: Product, use: str) -> dict[str, str]:
    """Fields of a weight with codes.

    Args:
        data: see ``matrix``.
        name: as there.
        layer: as there.
        product: as there.
        use: as there.
    """
    weight = product.weight
    assert isinstance(weight, CodedWeight)
    codes, row_bytes = code_rows.packed_rows(weight.codes, weight.grid.qmin, weight.bits)
    scale = weight.scale
    if product.coded and product.inputs is not None and use != "decode":
        _check_sums(layer, product)
        scale = scale * np.float32(product.inputs.scale)
    fields = {
        "data": data.array(name, codes, layer),
        "scales": data.array(f"{name}_scales", scale.astype(np.float32), layer),
        "scale_step": str(int(scale.size > 1)),
        "row_bytes": str(row_bytes),
        "low": str(weight.grid.qmin),
        "offset": literal(float(weight.grid.offset)),
    }
    if product.coded and use == "product":
        dot = code_rows.dot_name(weight.bits, unsigned=is_unsigned(product.inputs))
        return {**fields, "product": "product_codes", "dot": dot}
    fields["unpack"] = f"unpack_{code_rows.suffix(weight.bits)}"
    if use == "product":
        fields["product"] = "product_decoded"
    elif use == "decode":
        fields["decode"] = "decode_codes"
    return fields


def _check_sums(layer: str, product: Product) -> None:
    """Raise a UserError if a sum of products of codes may not fit in 32 bits.

    Args:
        layer: name of the layer.
        product: of the layer.
    """
    assert product.inputs is not None
    grid = product.inputs.grid
    columns = product.weight.shape[1]
    if columns * 255 * max(grid.qmax, -grid.qmin) * 2 > MOST:
        raise UserError(f"rows of {layer} must have at most 16000 columns in C, got {columns}")


def is_unsigned(inputs: Activation | None) -> bool:
    """Whether codes need eight bits without a sign.

    Args:
        inputs: how they were rounded.
    """
    return inputs is not None and inputs.grid.qmax > 127


def stored_floats(weight: FloatWeight) -> tuple[NDArray[Any], str]:
    """The values of a weight as halves, where none changes, else as floats.

    Args:
        weight: without codes.
    """
    with np.errstate(over="ignore"):
        halves = weight.array.astype(np.float16)
    if np.array_equal(halves.astype(np.float32), weight.array):
        return halves.view(np.uint16), "halves"
    return weight.array, "floats"


def rounding(data: Data, product: Product, *, copied: bool = False) -> str:
    """Name of the structure of how the inputs of a product are rounded.

    Args:
        data: gets it.
        product: whose inputs they are.
        copied: whether values must be copied even where they are not rounded.
    """
    activation = product.inputs
    if activation is None:
        prepare = "prepare_rounded" if copied else "prepare_nothing"
        fields = [".round = round_not", f".prepare = {prepare}"]
    elif activation.bits > 8:
        fields = [".round = round_to_half", ".prepare = prepare_rounded"]
    else:
        grid = activation.grid
        prepare = "prepare_rounded"
        if product.coded:
            parallel = code_rows.interleaved(product.weight.bits)
            prepare = "prepare_interleaved" if parallel else "prepare_codes"
        fields = [".round = round_to_codes", f".prepare = {prepare}"]
        fields += [f".scale = {literal(activation.scale)}"]
        fields += [f".low = {grid.qmin}", f".high = {grid.qmax}"]
    return data.structure("rounding", "data_rounding", "    " + ", ".join(fields))
