"""Fake quantization with gradients, and the module that applies it to a parameter.

A value is ``scale * (code + offset)`` with an integer code in [qmin, qmax]. Midtread grids (offset
0) have a level at zero, midrise grids (offset 1/2) do not. Training and packing call the same
``encode`` and ``decode``. Numbers of 16 or 32 bits stay floats and have no codes.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.plan import Bits
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params, decode, encode
from autoquant.quantization.formats import CodedFormat, RoundedFormat, format_of_bits
from autoquant.quantization.native import pointwise
from autoquant.quantization.native.operator import EVERY_DEVICE, define
from autoquant.quantization.native.tracing import (
    is_compiled_inference,
    is_differentiated,
    is_traced,
    untraced,
)
from autoquant.quantization.scale_rules import SMALLEST_SCALE, StoredScale, rule_named
from autoquant.settings import Scheme


def fake_quantize(
    values: Tensor, scale: Tensor, grid: Grid, *, clip: bool = True, masked: bool = True
) -> Tensor:
    """Quantize and dequantize; gradients as in LSQ (see _FakeQuantize).

    Args:
        values: float, any shape.
        scale: one number, or one for each row ([rows, 1, ...]), or of any shape that broadcasts
            against ``values``; it gets a gradient.
        grid: the codes.
        clip: whether codes are clipped to the grid; if so, the result's codes fit into the grid
            and its quantization parameters are attached.
        masked: whether the gradient of clipped values is zero; no effect without ``clip``.
    """
    if is_compiled_inference(values, scale):
        numbers = grid.qmin, grid.qmax, grid.offset, clip
        result: Tensor = torch.ops.autoquant.fake_quantize(values, scale, *numbers)
        return result
    return _fake_quantize(values, scale, grid, clip=clip, masked=masked)


@untraced
def _fake_quantize(
    values: Tensor, scale: Tensor, grid: Grid, *, clip: bool, masked: bool
) -> Tensor:
    """See ``fake_quantize``.

    Args:
        values: as there, like all that follow.
        scale: broadcasts against ``values``.
        grid: the codes.
        clip: whether codes are clipped to the grid.
        masked: whether the gradient of clipped values is zero.
    """
    in_c = _suits_c(values, scale, clip)
    if is_differentiated(values, scale):
        result: Tensor = _FakeQuantize.apply(values, scale, grid, clip, masked, in_c)  # type: ignore[no-untyped-call]
    else:
        result = _quantized(values, scale, grid, clip, in_c)
    return attach_quant_params(result, QuantParams(scale.detach(), grid)) if clip else result


def _suits_c(values: Tensor, scale: Tensor, clip: bool) -> bool:
    """Whether the compiled kernels may compute.

    Args:
        values: as in ``fake_quantize``, like all that follow.
        scale: broadcasts against ``values``.
        clip: whether codes are clipped to the grid.
    """
    return clip and pointwise.has_row_scales(values, scale) and pointwise.suits(values, scale)


def _compute(
    values: Tensor, scale: Tensor, qmin: int, qmax: int, offset: float, clip: bool
) -> Tensor:
    """The operator's function: as ``fake_quantize``, without gradients.

    Args:
        values: as there.
        scale: as there.
        qmin: of the grid.
        qmax: of the grid.
        offset: of the grid.
        clip: whether codes are clipped to the grid.
    """
    grid = Grid(qmin, qmax, offset)
    return _quantized(values, scale, grid, clip, _suits_c(values, scale, clip))


def _shapes(values: Tensor, scale: Tensor, *numbers: float) -> Tensor:
    """An empty result.

    Args:
        values: as in ``_compute``, like all that follow.
        scale: of the values.
        numbers: the other arguments.
    """
    return torch.empty_like(values)


define(
    "fake_quantize(Tensor values, Tensor scale, int qmin, int qmax, float offset, bool clip) "
    "-> Tensor",
    _compute,
    _shapes,
    EVERY_DEVICE,
)


def _quantized(values: Tensor, scale: Tensor, grid: Grid, clip: bool, in_c: bool) -> Tensor:
    """As ``fake_quantize``, without gradients.

    Args:
        values: as in ``fake_quantize``, like all that follow.
        scale: broadcasts against ``values``.
        grid: the codes.
        clip: whether codes are clipped to the grid.
        in_c: whether the compiled kernels compute.
    """
    if in_c:
        return pointwise.fake_quantize(values, scale, grid)
    codes = encode(values, scale, grid, clip=clip)
    return decode(codes, scale, grid, out=None if is_traced(values) else codes)


class _FakeQuantize(torch.autograd.Function):
    """decode(encode(x)) with a straight-through estimator on the rounding alone.

    From ``y = s * (clip(round(x / s - o)) + o)`` with round'(v) = 1 (LSQ, Esser et al. 2020,
    section 2.1): dy/dx is 1 inside the grid and 0 where clipped; dy/ds is (y - x) / s inside and
    y / s where clipped. The scale's gradient is multiplied by 1 / sqrt(n * max_level), with n
    values for each scale (section 2.2).
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        scale: Tensor,
        grid: Grid,
        clip: bool,
        masked: bool,
        in_c: bool,
    ) -> Tensor:
        """Quantize and dequantize.

        Args:
            ctx: what autograd keeps for backward.
            values: as in ``fake_quantize``, like all that follow.
            scale: broadcasts against ``values``.
            grid: the codes.
            clip: whether codes are clipped to the grid.
            masked: whether the gradient of clipped values is zero.
            in_c: whether the compiled kernels compute.
        """
        result = _quantized(values, scale, grid, clip, in_c)
        ctx.save_for_backward(values, scale, result)
        ctx.grid, ctx.masked, ctx.in_c = grid, masked and clip, in_c
        return result

    @staticmethod
    @untraced
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, scale, result = ctx.saved_tensors
        learned = ctx.needs_input_grad[1]
        if ctx.in_c and type(grad) is Tensor:  # not one that is only recorded
            grad_values, total = pointwise.fake_quantize_back(
                grad.contiguous(), values, result, scale, masked=ctx.masked, learned=learned
            )
        else:
            grad_values, total = _gradients(grad, values, result, scale, ctx.masked, learned)
        if total is None:
            return grad_values, None, None, None, None, None
        count = max(1.0, values.numel() / scale.numel())  # there may be none
        grad_scale = total / (scale * math.sqrt(count * ctx.grid.max_level))
        return grad_values, grad_scale, None, None, None, None


def _gradients(
    grad: Tensor, values: Tensor, result: Tensor, scale: Tensor, masked: bool, learned: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the values, and that of the scale times the scale (not normalised).

    Args:
        grad: of the result.
        values: before quantization.
        result: after it.
        scale: broadcasts against ``values``.
        masked: whether the gradient of clipped values is zero.
        learned: whether the scale's gradient is computed; None is returned for it otherwise.
    """
    if not masked:
        return grad, _sum_to_scale(result - values, grad, scale) if learned else None
    inside = torch.sub(result, values).abs_().le_(0.5001 * scale)
    grad_values = _zero_outside(grad, inside)
    if not learned:
        return grad_values, None
    local = _zero_outside(values, inside)
    return grad_values, _sum_to_scale(torch.sub(result, local, out=local), grad, scale)


def _zero_outside(values: Tensor, inside: Tensor) -> Tensor:
    """Values where ``inside`` is 1, and 0 where it is 0, even for a NaN (NaN * 0 is not 0).

    This is the gradient of a ReLU, several times as fast as torch.where on a CPU.
    """
    masked: Tensor = torch.ops.aten.threshold_backward(values, inside, 0.5)
    return masked


def _sum_to_scale(local: Tensor, grad: Tensor, scale: Tensor) -> Tensor:
    """The scale's gradient from each value's local gradient.

    Args:
        local: derivative of each result by the scale, times the scale; overwritten.
        grad: of the results.
        scale: the shape to which products are summed.
    """
    return local.mul_(grad).sum_to_size(scale.shape)


class WeightQuantizer(nn.Module):
    """A parametrization (torch.nn.utils.parametrize) that fake-quantizes a parameter.

    Args:
        weight: the float parameter; its first axis holds the output channels.
        bits: 1-8 (1.6 among them), 16 or 32.
        scheme: how it is quantized.
        role: of the parameter: "weight", "recurrent" or "bias"; its number format may depend on it.

    Attributes:
        format: the number format.
        grid: the integer codes, or None for a format without.
        magnitude: mean|W| that the weight shares with others (quantizer.joint_recurrent), or None.
        zero_rows: whether a row had code 0 everywhere when the weight was last computed, by the
            index of the row; the keys are set from outside (padding rows of tables).
    """

    log_scale: Tensor

    def __init__(self, weight: Tensor, bits: Bits, scheme: Scheme, role: str = "weight") -> None:
        super().__init__()
        self.scheme = scheme
        self.format = format_of_bits(bits, role, scheme)
        self._coded = self.format if isinstance(self.format, CodedFormat) else None
        self.grid = None if self._coded is None else self._coded.grid
        self.magnitude: Tensor | None = None  # set from outside where several weights share a mean
        self.zero_rows: dict[int, Tensor] = {}
        if self.grid is None:
            return
        rule = rule_named(scheme.scale)
        self._computed_scale = None if isinstance(rule, StoredScale) else rule
        if isinstance(rule, StoredScale):
            start = self._initial_log_scale(rule, weight)
            self.log_scale = nn.Parameter(start, requires_grad=rule.learned)

    def _initial_log_scale(self, rule: StoredScale, weight: Tensor) -> Tensor:
        assert self.grid is not None
        parts = self._parts(weight)
        per_channel = self._scale_count(weight) > 1
        return rule.initial_scale(parts, self.grid, per_channel=per_channel).log()

    def _scale_count(self, weight: Tensor) -> int:
        assert self._coded is not None
        return self._coded.scale_shape(tuple(weight.shape))[0]

    def _parts(self, weight: Tensor) -> Tensor:
        """The weight; with one row for each scale where these are not one or one a row."""
        count = self._scale_count(weight)
        return weight if count in (1, len(weight)) else weight.reshape(count, -1)

    @torch.no_grad()
    def recalibrate(self, parameter: Tensor) -> None:
        """Choose the scale anew from the parameter as it is now, where the scale is stored.

        Args:
            parameter: the trained parameter, before any reparametrization.
        """
        if self.grid is not None and self._computed_scale is None:
            rule = rule_named(self.scheme.scale)
            assert isinstance(rule, StoredScale)
            self.log_scale.copy_(self._initial_log_scale(rule, self.effective(parameter)))

    def scale(self, weight: Tensor) -> Tensor:
        """The scale, rounded as it will be stored; its shape is ``CodedFormat.scale_shape``.

        Args:
            weight: the quantity that is quantized, after any reparametrization.
        """
        assert self._coded is not None
        assert self.grid is not None
        if self._computed_scale is None:
            scale = self.log_scale.exp()
        else:
            parts = self._parts(weight)
            scale = self._computed_scale.compute_scale(parts, self.grid, self.magnitude)
            scale = self._one_for_each(scale, weight)
        return self._coded.round_scale(scale.clamp_min(SMALLEST_SCALE))

    def _one_for_each(self, scale: Tensor, weight: Tensor) -> Tensor:
        """A computed scale in the shape that is stored, which a rule need not know.

        Args:
            scale: what the rule returned.
            weight: the quantity that is quantized.

        Raises:
            UserError: it has more entries than are stored.
        """
        assert self._coded is not None
        shape = self._coded.scale_shape(tuple(weight.shape))
        if scale.numel() not in (1, math.prod(shape)):
            raise UserError(
                f"quantizer.scale={self.scheme.scale} must compute 1 scale or {math.prod(shape)} "
                f"for a weight {list(weight.shape)} (see quantizer.granularity), "
                f"got {list(scale.shape)}"
            )
        return scale.expand(shape) if scale.numel() == 1 else scale.reshape(shape)

    def effective(self, parameter: Tensor) -> Tensor:
        """The quantity that is quantized: the parameter, or its tanh.

        Args:
            parameter: the trained parameter.
        """
        return parameter.tanh() if self.scheme.reparametrization == "tanh" else parameter

    def forward(self, parameter: Tensor) -> Tensor:
        """The fake-quantized weight.

        Args:
            parameter: the trained parameter.
        """
        weight = self.effective(parameter)
        if self.grid is None:
            return cast(RoundedFormat, self.format).rounded(weight)
        masked, parts = self.scheme.clip_gradient == "mask", self._parts(weight)
        scale = self.scale(weight)
        quantized = fake_quantize(parts, scale, self.grid, masked=masked)
        quantized = quantized if parts is weight else quantized.view_as(weight)
        for row in self.zero_rows:
            self.zero_rows[row] = self._is_zero(quantized.detach(), scale.detach(), row)
        return quantized

    def _is_zero(self, quantized: Tensor, scale: Tensor, row: int) -> Tensor:
        """Whether a row of the quantized weight has code 0 everywhere, a boolean.

        Args:
            quantized: [rows, columns].
            scale: one, or one for each row.
            row: its index.
        """
        assert self.grid is not None
        row_scale = scale.flatten()[0 if scale.numel() == 1 else row]
        return (quantized[row] == row_scale * self.grid.offset).all()

    @torch.no_grad()
    def stored(self, parameter: Tensor) -> dict[str, Tensor]:
        """The tensors that the packed file holds for the parameter, by their suffixes.

        Args:
            parameter: the trained parameter, before any reparametrization.
        """
        weight = self.effective(parameter)
        if self._coded is None:
            return cast(RoundedFormat, self.format).store(weight)
        return self._coded.store(weight, self.scale(weight))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The parameter whose effective weight is ``weight``.

        Args:
            weight: with "tanh" its values are first clipped to the inside of (-1, 1).
        """
        if self.scheme.reparametrization == "none":
            return weight
        return weight.clamp(-1 + 1e-6, 1 - 1e-6).atanh()
