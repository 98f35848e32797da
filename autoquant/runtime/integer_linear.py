"""y = x W^T + b from floats to floats with a packed weight, in one call of a kernel."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.kernels.integer_linear import (
    MAX_COLUMNS,
    WORTH_A_THREAD,
    IntegerLinearJob,
    integer_product,
    stride_of,
)
from autoquant.quantization import native
from autoquant.quantization.codes import QuantParams, Rule
from autoquant.quantization.fake_quantize import ActivationQuantizer
from autoquant.quantization.native.matrix import Pointer
from autoquant.runtime.weight import PackedWeight


class IntegerLinearCall(ctypes.Structure):
    """infer.h: affine_call."""

    _fields_ = [
        ("job", IntegerLinearJob),
        ("inputs", Pointer),
        ("rows", ctypes.c_int64),
        ("scale", ctypes.c_float),
    ]


class Affine:
    """The product with one packed weight, with all that does not change from call to call.

    Args:
        rule: of the inputs; its codes are held inside the grid.
        bias: [rows of the weight] or None.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None, rule: Rule) -> None:
        assert weight.matrix is not None
        self.matrix = weight.matrix
        self.coding = QuantParams(rule.scale.detach(), rule.grid)
        self.scales = (weight.scale * self.coding.scale).float().reshape(-1)
        self.scales = self.scales.expand(weight.rows).contiguous()
        self.bias = None if bias is None else bias.float().contiguous()
        self.columns, self.stride = weight.columns, stride_of(weight.columns)
        job = IntegerLinearJob(self.matrix.address, self.scales.data_ptr())
        job.bias = None if self.bias is None else self.bias.data_ptr()
        job.stride, job.block1 = self.stride, self.matrix.struct.blocks
        job.low, job.high = rule.grid.qmin, rule.grid.qmax
        self.call = IntegerLinearCall(job=job, scale=float(self.coding.scale))

    def __call__(self, inputs: Tensor) -> Tensor | None:
        """inputs [N, columns] -> [N, rows]; None where an input is NaN, which codes cannot be."""
        struct = self.matrix.struct
        work = len(inputs) * struct.rows * struct.columns
        if torch.get_num_threads() > 1 and work > 2 * WORTH_A_THREAD:
            return integer_product(inputs, self.matrix, self.coding, self.scales, self.bias)
        out = inputs.new_empty(len(inputs), struct.rows)
        call, room = self.into(inputs, out)
        flag = native.function("affine")(ctypes.byref(call))
        del room  # until here the kernel used it
        return None if flag else out

    def into(self, inputs: Tensor, out: Tensor) -> tuple[IntegerLinearCall, Tensor]:
        """The call that computes ``out``, and the memory that it works in."""
        rows = len(inputs)
        room = inputs.new_empty(rows * (self.stride + 4), dtype=torch.uint8)
        call = IntegerLinearCall.from_buffer_copy(self.call)
        call.inputs, call.rows = inputs.data_ptr(), rows
        job = call.job
        job.codes = room.data_ptr()
        job.sums = room.data_ptr() + rows * self.stride
        job.out, job.row1 = out.data_ptr(), rows
        return call, room


def rule_for(quantizer: ActivationQuantizer | None, weight: PackedWeight) -> Rule | None:
    """The rule of a quantizer, if products of its codes with the weight's can be integers."""
    rule = None if quantizer is None else quantizer.rule()
    suits = weight.matrix is not None and weight.columns < MAX_COLUMNS
    return rule if suits and rule is not None and rule.clip else None


def plain(*given: Tensor) -> bool:
    """Whether inputs suit the kernels, and nothing asks for gradients or for other kernels."""
    if torch.is_autocast_enabled("cpu") or current().kernel not in ("auto", "native"):
        return False
    graded = torch.is_grad_enabled()
    for each in given:
        if not each.is_cpu or each.dtype != torch.float32 or (graded and each.requires_grad):
            return False
    return True
