"""A packed linear layer as one operator of torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.kernels import linear
from autoquant.quantization.native.matrix import Matrix, MatrixLayout
from autoquant.quantization.native.operator import define
from autoquant.runtime.activation import ActivationCodes
from autoquant.runtime.linear_call import LinearCall
from autoquant.runtime.weight import ScaledMatrix


def packed_linear(
    inputs: Tensor, weight: ScaledMatrix, bias: Tensor | None, activation: ActivationCodes
) -> Tensor:
    """y = x W^T + b with integer codes of x and W.

    Args:
        inputs: [..., columns], float32 on the CPU.
        weight: [rows, columns].
        bias: [rows] or None.
        activation: codes of the inputs.

    Returns:
        [..., rows].
    """
    matrix = weight.matrix
    outputs: Tensor = torch.ops.autoquant.packed_linear(
        inputs,
        matrix.codes,
        matrix.sums,
        weight.scale,
        [*matrix.layout],
        bias,
        activation.log_scale,
        activation.bounds,
    )
    return outputs


def _compute(
    inputs: Tensor,
    codes: Tensor,
    sums: Tensor,
    scale: Tensor,
    layout: Sequence[int],
    bias: Tensor | None,
    log_scale: Tensor,
    bounds: Sequence[int],
) -> Tensor:
    """The operator's function.

    Args:
        inputs: as in ``packed_linear``.
        codes: of the weight's matrix.
        sums: of the weight's matrix.
        scale: of the weight.
        layout: of the weight's matrix.
        bias: as in ``packed_linear``.
        log_scale: of the inputs.
        bounds: of the inputs' codes.
    """
    weight = ScaledMatrix(Matrix.of(MatrixLayout(*layout), codes, sums), scale)
    activation = ActivationCodes.of(log_scale, bounds)
    if inputs.shape[-1] != weight.columns:
        raise UserError(f"inputs must be [..., {weight.columns}], got {[*inputs.shape]}")
    flat, outputs = inputs.reshape(-1, weight.columns).contiguous(), None
    if flat.numel():
        outputs = LinearCall(weight, bias, activation.params())(flat)
    if outputs is None:  # codes cannot be NaN
        outputs = linear(activation.quantize(flat), weight.values(), bias)
    return outputs.view(*inputs.shape[:-1], weight.rows)


def _shapes(
    inputs: Tensor, codes: Tensor, sums: Tensor, scale: Tensor, layout: Sequence[int], *rest: object
) -> Tensor:
    """An empty result.

    Args:
        inputs: as in ``_compute``, like all that follow.
        codes: of the weight's matrix.
        sums: of the weight's matrix.
        scale: of the weight.
        layout: of the weight's matrix.
        rest: the other arguments.
    """
    return inputs.new_empty(*inputs.shape[:-1], layout[0])


define(
    "packed_linear(Tensor inputs, Tensor codes, Tensor sums, Tensor scale, int[] layout, "
    "Tensor? bias, Tensor log_scale, int[] bounds) -> Tensor",
    _compute,
    _shapes,
)
