"""Float <-> integer codes. Training and packing call the same ``encode`` and ``decode``.

A value is ``scale * (code + offset)`` with an integer code in [low, high]. Midtread grids (offset
0) have a level at zero, midrise grids (offset 1/2) do not. 16 bits is half precision and 32 bits
is the number as it was; both have no codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.plan import Bits
from autoquant.quantization import log_scales
from autoquant.quantization.codes import (
    Grid,
    QuantParams,
    Rule,
    attach_quant_params,
    decode,
    encode,
)
from autoquant.quantization.native import pointwise
from autoquant.quantization.scale_rules import SMALLEST_SCALE, Kept, mse_scale, rule_named
from autoquant.settings import Scheme

FLOAT_TYPES = {16: torch.float16, 32: torch.float32}
SCALE_TYPES = {16: torch.bfloat16, 32: torch.float32}
Rounding = Callable[[Tensor], Tensor]


class _FakeQuantize(torch.autograd.Function):
    """decode(encode(x)) with a straight-through estimator on the rounding alone.

    From ``y = s * (clip(round(x / s - o)) + o)`` with round'(v) = 1 (LSQ, Esser et al. 2020,
    section 2.1): dy/dx is 1 inside the grid and 0 where clipped; dy/ds is (y - x) / s inside and
    y / s where clipped. The step size's gradient is scaled by 1 / sqrt(n * reach), section 2.2.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, scale: Tensor, grid: Grid, clip: bool, masked: bool
    ) -> Tensor:
        fast = clip and pointwise.by_rows(values, scale) and pointwise.suits(values, scale)
        if fast:
            result = pointwise.fake_quantize(values, scale, grid)
        else:
            codes = encode(values, scale, grid, clip=clip)
            result = decode(codes, scale, grid, out=codes)
        ctx.save_for_backward(values, scale, result)
        ctx.grid, ctx.masked, ctx.fast = grid, masked and clip, fast
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, scale, result = ctx.saved_tensors
        differentiate = _slopes_fast if ctx.fast else _slopes
        learned = ctx.needs_input_grad[1]
        grad_values, slope = differentiate(grad, values, scale, result, ctx.masked, learned)
        if slope is None:
            return grad_values, None, None, None, None
        count = values.numel() / scale.numel()
        grad_scale = slope / (scale * math.sqrt(count * ctx.grid.max_level))
        return grad_values, grad_scale, None, None, None


def _slopes(
    grad: Tensor, values: Tensor, scale: Tensor, result: Tensor, masked: bool, learned: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradient of the values, and of the step size times the step size (not normalised)."""
    if not masked:
        return grad, _summed(result - values, grad, scale) if learned else None
    inside = torch.sub(result, values).abs_().le_(0.5001 * scale)
    grad_values = _kept(grad, inside)
    if not learned:
        return grad_values, None
    slope = _kept(values, inside)
    return grad_values, _summed(torch.sub(result, slope, out=slope), grad, scale)


def _kept(values: Tensor, inside: Tensor) -> Tensor:
    """Values where ``inside`` is 1, and 0 where it is 0, whatever stands there: NaN * 0 is not 0.

    The gradient of a ReLU is just that, and several times as fast as torch.where on a CPU.
    """
    kept: Tensor = torch.ops.aten.threshold_backward(values, inside, 0.5)
    return kept


def _summed(slope: Tensor, grad: Tensor, scale: Tensor) -> Tensor:
    """Gradient of the step size from each value's slope, which is overwritten."""
    return slope.mul_(grad).sum_to_size(scale.shape)


def _slopes_fast(
    grad: Tensor, values: Tensor, scale: Tensor, result: Tensor, masked: bool, learned: bool
) -> tuple[Tensor, Tensor | None]:
    """The same in one pass."""
    grad = grad.contiguous()
    return pointwise.fake_quantize_back(grad, values, result, scale, masked=masked, slopes=learned)


class _Straight(torch.autograd.Function):
    """Round to what can be stored; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rounding: Rounding) -> Tensor:
        return rounding(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def cast(values: Tensor, bits: int, types: dict[int, torch.dtype] = FLOAT_TYPES) -> Tensor:
    """Values as they will be after storage in 16 or 32 bits."""
    if types[bits].itemsize >= values.dtype.itemsize:
        return values
    return _straight(values, partial(_narrowed, dtype=types[bits]))


def _narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values through a narrower float type and back."""
    limit = torch.finfo(dtype).max
    return values.clamp(-limit, limit).to(dtype).to(values.dtype)


def _straight(values: Tensor, rounding: Rounding) -> Tensor:
    result: Tensor = _Straight.apply(values, rounding)  # type: ignore[no-untyped-call]
    return result


def round_scale(scale: Tensor, scheme: Scheme) -> Tensor:
    """Step sizes as they will be after storage."""
    bits = scheme.scale_bits_of(scale.numel())
    return _straight(scale, log_scales.rounded) if bits == 8 else cast(scale, bits, SCALE_TYPES)


def store_scale(scale: Tensor, scheme: Scheme) -> Tensor:
    """Rounded step sizes as the packed file has them: [n], or bytes [1 + n]."""
    bits = scheme.scale_bits_of(scale.numel())
    return log_scales.stored(scale) if bits == 8 else scale.reshape(-1).to(SCALE_TYPES[bits])


def restore_scale(stored: Tensor) -> Tensor:
    """What ``store_scale`` stored, [n] float32; a new tensor."""
    if stored.dtype == torch.uint8:
        return log_scales.restored(stored)
    return stored.to(torch.float32, copy=True)


def fake_quantize(
    values: Tensor, scale: Tensor, grid: Grid, *, clip: bool = True, masked: bool = True
) -> Tensor:
    """Quantize and come back; gradients as in LSQ (see _FakeQuantize).

    Args:
        clip: whether codes are held inside the grid; if so the result is marked with its codes.
        masked: whether the gradient of clipped values is stopped.
    """
    result: Tensor = _FakeQuantize.apply(values, scale, grid, clip, masked)  # type: ignore[no-untyped-call]
    return attach_quant_params(result, QuantParams(scale.detach(), grid)) if clip else result


# --- modules that sit on a parameter or an activation --------------------------------------------


class WeightQuantizer(nn.Module):
    """A parametrization (torch.nn.utils.parametrize) that fake-quantizes a parameter.

    Args:
        weight: the float parameter; its first axis holds the output channels.
        bits: 1-8 (1.6 among them), 16 or 32.
        scheme: the rule.
    """

    log_scale: Tensor

    def __init__(self, weight: Tensor, bits: Bits, scheme: Scheme) -> None:
        super().__init__()
        self.bits = bits
        self.scheme = scheme
        self.grid = Grid.signed(bits, scheme.grid) if bits <= 8 else None
        self.magnitude: Tensor | None = None  # set from outside where a mean is shared
        if self.grid is None:
            return
        rule = rule_named(scheme.scale)
        self._following = None if isinstance(rule, Kept) else rule
        if isinstance(rule, Kept):
            self.log_scale = nn.Parameter(self._start(rule, weight), requires_grad=rule.learned)

    def _start(self, rule: Kept, weight: Tensor) -> Tensor:
        """The logarithm of the step size to begin with."""
        assert self.grid is not None
        per_channel = self.scheme.granularity == "channel" and weight.ndim > 1
        return rule.start(weight, self.grid, per_channel=per_channel).log()

    @torch.no_grad()
    def restart(self, parameter: Tensor) -> None:
        """Begin anew with the step size, where it is one that is kept."""
        if self.grid is not None and self._following is None:
            rule = rule_named(self.scheme.scale)
            assert isinstance(rule, Kept)
            self.log_scale.copy_(self._start(rule, self.effective(parameter)))

    def scale(self, weight: Tensor) -> Tensor:
        """The step size as it will be stored; broadcasts against ``weight``.

        Args:
            weight: the quantity that is quantized, after any reparametrization.
        """
        assert self.grid is not None
        if self._following is None:
            scale = self.log_scale.exp()
        else:
            scale = self._following.follow(weight, self.grid, self.magnitude)
        return round_scale(scale.clamp_min(SMALLEST_SCALE), self.scheme)

    def effective(self, parameter: Tensor) -> Tensor:
        """The quantity that is quantized: the parameter, or its tanh."""
        return parameter.tanh() if self.scheme.reparametrization == "tanh" else parameter

    def forward(self, parameter: Tensor) -> Tensor:
        weight = self.effective(parameter)
        if self.grid is None:
            return cast(weight, int(self.bits))
        masked = self.scheme.clip_gradient == "mask"
        return fake_quantize(weight, self.scale(weight), self.grid, masked=masked)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The parameter whose effective weight is ``weight`` (tanh holds it inside (-1, 1))."""
        if self.scheme.reparametrization == "none":
            return weight
        return weight.clamp(-1 + 1e-6, 1 - 1e-6).atanh()


class ActivationQuantizer(nn.Module):
    """Fake-quantizes an activation with one step size; starts at the MSE-optimal one.

    After construction it observes: values pass unchanged and a sample of them is kept. ``finish``
    ends that and chooses the step size, and whether the grid is signed.
    """

    SAMPLE = 1024  # values kept from each observed tensor, all of a smaller one
    TENSORS = 512  # tensors that are sampled: a hidden state is seen once for each time step

    qmin: Tensor

    def __init__(self, bits: int, scheme: Scheme) -> None:
        super().__init__()
        self.bits = bits
        self.scheme = scheme
        self.unit = scheme.activation_scale == "unit"
        self.observed: list[Tensor] | None = None
        self.observe()
        if bits <= 8:
            start = torch.tensor(-math.log((1 << bits) - 1))
            self.log_scale = nn.Parameter(start, requires_grad=not self.unit)
            self.register_buffer("qmin", torch.tensor(0.0))
            self._set_grid(0)

    def _set_grid(self, qmin: int) -> None:
        self.qmin.fill_(qmin)
        self.grid = Grid.signed(self.bits, "midtread") if qmin else Grid.unsigned(self.bits)

    def scale(self) -> Tensor:
        """The step size, a scalar."""
        return self.log_scale.exp()

    def rule(self) -> Rule | None:
        """What ``forward`` does to values, or None where it is not a quantization to codes."""
        if self.bits > 8 or self.observed is not None:
            return None
        masked = self.scheme.clip_gradient == "mask"
        return Rule(self.scale(), self.grid, self.scheme.activation_clip, masked)

    def forward(self, values: Tensor) -> Tensor:
        if self.bits > 8:
            return cast(values, self.bits)
        if self.observed is not None:
            self._observe(values.detach())
            return values
        rule = self.rule()
        assert rule is not None
        return fake_quantize(values, rule.scale, rule.grid, clip=rule.clip, masked=rule.masked)

    def observe(self) -> None:
        """Let values pass unchanged and keep a sample, where the step size depends on them."""
        self.observed = None if self.unit or self.bits > 8 else []

    def _observe(self, values: Tensor) -> None:
        assert self.observed is not None
        count = len(self.observed)
        if count >= self.TENSORS:
            return
        flat = values.flatten()
        if flat.numel() > self.SAMPLE:
            generator = torch.Generator().manual_seed(count)
            chosen = torch.randint(flat.numel(), (self.SAMPLE,), generator=generator)
            flat = flat[chosen.to(flat.device)]
        self.observed.append(flat.float().clone())

    def finish(self) -> None:
        """Stop observing; set the grid and the step size from what was seen."""
        if not self.observed:
            self.observed = None
            return
        values = torch.cat(self.observed)
        self.observed = None
        self._set_grid(-(1 << self.bits - 1) if bool((values < 0).any()) else 0)
        scale = mse_scale(values[None], self.grid, per_channel=False)
        with torch.no_grad():
            self.log_scale.copy_(scale.squeeze().log())

    def restore(self, log_scale: float, qmin: int) -> None:
        """Set a grid and step size that were stored."""
        self.observed = None
        self._set_grid(qmin)
        with torch.no_grad():
            self.log_scale.fill_(log_scale)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        if self.bits <= 8 and f"{prefix}qmin" in state:  # a checkpoint is of a calibrated model
            self.observed = None
            self._set_grid(int(self.qmin))
