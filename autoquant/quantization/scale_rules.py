"""How the scales of weights are chosen: learned, fixed, or computed from the weight.

A rule is one decorated class in one file. ``quantizer.scale`` names it, or the import path of a
rule that lies elsewhere ("mymodule.MyRule").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from autoquant.errors import UserError, shown
from autoquant.plugins import resolve_callable
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.settings import SCALES

SMALLEST_SCALE = 1e-12  # of an all-zero channel: keeps the division finite
CACHED = 1 << 18  # values that are processed together: all passes over them stay in the cache


@runtime_checkable
class StoredScale(Protocol):
    """A rule whose scales are stored beside the weight, from one training step to the next.

    ``initial_scale`` is called when a layer is quantized, and again when the scales of a model
    that trains from scratch are recalibrated. The logarithm of the scale is what is stored.

    Attributes:
        learned: whether training changes the scale, by its gradient (LSQ).
    """

    learned: bool

    def initial_scale(self, weight: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
        """The first scale.

        Args:
            weight: the quantity that is quantized, [rows, ...].
            grid: the codes.
            per_channel: whether each row has a scale.

        Returns:
            [rows, 1, ...] per channel, else [1, 1, ...].
        """
        ...


class ComputedScale(Protocol):
    """A rule whose scales are computed from the weight in every forward pass; never stored."""

    def compute_scale(self, weight: Tensor, grid: Grid, magnitude: Tensor | None) -> Tensor:
        """The scale of the weight as it is now.

        Args:
            weight: the quantity that is quantized, [rows, ...].
            grid: the codes.
            magnitude: mean|W|, a scalar, where several weights share one
                (``quantizer.joint_recurrent``); None elsewhere.

        Returns:
            one scale, or one a row where the parameter has as many (``quantizer.granularity`` is
            "channel"): [1, 1, ...] or [rows, 1, ...].
        """
        ...


ScaleRule = StoredScale | ComputedScale

_RULES: dict[str, ScaleRule] = {}


def scale_rule(name: str) -> Callable[[type[ScaleRule]], type[ScaleRule]]:
    """Register a class as a rule: a ``StoredScale`` or a ``ComputedScale``.

    Args:
        name: what ``quantizer.scale`` calls it.

    Returns:
        a decorator of a class without constructor arguments.
    """

    def register(rule: type[ScaleRule]) -> type[ScaleRule]:
        _RULES[name] = rule()
        SCALES.register(name)
        return rule

    return register


def rule_named(name: str) -> ScaleRule:
    """A rule by its name or import path.

    Args:
        name: as in ``quantizer.scale``.

    Raises:
        UserError: there is no such rule.
    """
    if name not in _RULES:
        requirement = "quantizer.scale must be a rule or its import path"
        rule = resolve_callable(name, requirement)
        if not (hasattr(rule, "initial_scale") or hasattr(rule, "compute_scale")):
            raise UserError(f"{requirement}, got {shown(name)}")
        _RULES[name] = rule()
    return _RULES[name]


@scale_rule("learned")
class Learned:
    """Learned, from the MSE-optimal scale on (LSQ, Esser et al. 2020, section 2)."""

    learned = True

    def initial_scale(self, weight: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
        """See ``StoredScale.initial_scale``."""
        return mse_scale(weight, grid, per_channel=per_channel)


@scale_rule("fixed")
class Fixed(Learned):
    """The MSE-optimal scale of the weight before training, which stays."""

    learned = False


@scale_rule("mean")
class Mean:
    """2.5 * mean|W| over all levels, without gradient (Bit-RNN, He et al. 2016, section 3)."""

    def compute_scale(self, weight: Tensor, grid: Grid, magnitude: Tensor | None) -> Tensor:
        """See ``ComputedScale.compute_scale``."""
        mean = mean_magnitude(weight) if magnitude is None else magnitude
        scale = 2.5 / (grid.qmax - grid.qmin) * mean.detach()
        return scale.reshape([1] * weight.ndim)


def mse_scale(values: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
    """The scale with the smallest mean squared error.

    Scales from a twentieth of the largest value's to a tenth more than it are tried (a midtread
    grid has one level less above zero than below), then finer ones around the best, which is
    refined by alternating between codes and the least-squares scale for these codes.

    Args:
        values: [rows, ...].
        grid: the codes.
        per_channel: whether each row has a scale.

    Returns:
        shape [rows, 1, ...] per channel, else [1, 1, ...]; broadcasts against ``values``.
    """
    rows = values.detach().flatten(1) if per_channel else values.detach().reshape(1, -1)
    on_cpu = rows.device.type == "cpu"
    at_once = max(1, CACHED // max(1, rows.shape[1])) if on_cpu else len(rows)
    parts = torch.split(rows, max(1, at_once))
    best = torch.cat([_mse_scales(part, grid) for part in parts])
    return best.view(-1, *[1] * (values.ndim - 1))


def _mse_scales(rows: Tensor, grid: Grid) -> Tensor:
    """The scale of each row, [rows, 1]."""
    largest = (rows.abs().amax(1, keepdim=True) / grid.max_level).clamp_min(SMALLEST_SCALE)
    least, best = torch.full_like(largest, math.inf), largest
    least, best = _best(rows, _multiples(largest, 1.1, 0.05, 22), grid, least, best)
    near = (best + _multiples(largest, -0.045, 0.045, 10)).clamp_min_(SMALLEST_SCALE)
    least, best = _best(rows, near, grid, least, best)
    for _ in range(3):
        levels = encode(rows, best, grid).add_(grid.offset)
        fitted = (rows * levels).sum(1, keepdim=True) / (levels * levels).sum(1, keepdim=True)
        fitted = torch.where(fitted > SMALLEST_SCALE, fitted, best)  # also drops 0 / 0
        least, best = _better(rows, fitted, grid, least, best)
    return best


def _multiples(scale: Tensor, first: float, last: float, count: int) -> Tensor:
    """Evenly spaced multiples of a scale, [count, *shape of the scale].

    Args:
        scale: any tensor.
        first: the first factor.
        last: the last one.
        count: of the factors.
    """
    exact = torch.promote_types(scale.dtype, torch.float32)  # the factors are no half precision
    factors = torch.linspace(first, last, count, dtype=torch.float32).to(scale.device, exact)
    return (scale * factors.view(-1, *[1] * scale.ndim)).to(scale.dtype)


def _best(
    rows: Tensor, scales: Tensor, grid: Grid, least: Tensor, best: Tensor
) -> tuple[Tensor, Tensor]:
    """The smallest error so far and its scale, once several further scales are tried.

    Args:
        rows: values, [rows, columns].
        scales: to try, [scales, rows, 1]; those of few values at once, which saves calls.
        grid: the codes.
        least: smallest error so far, [rows, 1].
        best: its scale, [rows, 1].
    """
    if rows.numel() * len(scales) > CACHED:
        for scale in scales:
            least, best = _better(rows, scale, grid, least, best)
        return least, best
    errors = _errors(rows, scales, grid).nan_to_num(nan=math.inf, posinf=math.inf)
    smallest, index = errors.min(0)
    better = smallest < least
    return (
        torch.where(better, smallest, least),
        torch.where(better, scales.gather(0, index[None])[0], best),
    )


def _errors(rows: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The mean squared error of each row, [..., rows, 1].

    Args:
        rows: values, [rows, columns].
        scale: [..., rows, 1].
        grid: the codes.
    """
    codes = encode(rows, scale, grid)
    return decode(codes, scale, grid, out=codes).sub_(rows).square_().mean(-1, keepdim=True)


def _better(
    rows: Tensor, scale: Tensor, grid: Grid, least: Tensor, best: Tensor
) -> tuple[Tensor, Tensor]:
    """The smallest error so far and its scale, once a further scale is tried.

    Args:
        rows: values, [rows, columns].
        scale: the scale to try, [rows, 1].
        grid: the codes.
        least: smallest error so far, [rows, 1].
        best: its scale, [rows, 1].
    """
    error = _errors(rows, scale, grid)
    better = error < least
    return torch.where(better, error, least), torch.where(better, scale, best)


def mean_magnitude(*tensors: Tensor) -> Tensor:
    """mean|W| over all values of the tensors together, a scalar.

    Args:
        tensors: of any shapes.
    """
    total = torch.stack([tensor.abs().sum() for tensor in tensors]).sum()
    return total / sum(tensor.numel() for tensor in tensors)
