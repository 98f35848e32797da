"""Step sizes of weights: how a rule starts and follows them.

Adding a rule is one decorated class in one file. Its name, or for one of your own also its import
path ("mymodule.MyRule"), is what ``quantizer.scale`` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.imports import imported
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.settings import SCALES

SMALLEST_SCALE = 1e-12  # of an all-zero channel: keeps the division finite
CACHED = 1 << 18  # values that are looked at together: all passes over them stay in the cache


@runtime_checkable
class Kept(Protocol):
    """A step size of its own for each weight, kept from step to step.

    Attributes:
        learned: whether training moves it, by its gradient (LSQ).
    """

    learned: bool

    def start(self, weight: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
        """The step size to begin with, [rows, 1, ...] or [1, 1, ...]; kept as a logarithm."""
        ...


class Following(Protocol):
    """A step size that follows from the weight, anew at every step."""

    def follow(self, weight: Tensor, grid: Grid, magnitude: Tensor | None) -> Tensor:
        """The step size of the weight as it is now.

        Args:
            magnitude: mean|W| where several weights share one (quantizer.joint_recurrent).
        """
        ...


ScaleRule = Kept | Following

_RULES: dict[str, ScaleRule] = {}


def scale_rule(name: str) -> Callable[[type[ScaleRule]], type[ScaleRule]]:
    """Register a rule by a name."""

    def register(rule: type[ScaleRule]) -> type[ScaleRule]:
        _RULES[name] = rule()
        SCALES.add(name)
        return rule

    return register


def rule_named(name: str) -> ScaleRule:
    """A rule by its name or import path.

    Raises:
        UserError: there is none.
    """
    if name not in _RULES:
        _RULES[name] = _imported(name)
    return _RULES[name]


def _imported(path: str) -> ScaleRule:
    rule = "quantizer.scale must be a rule or its import path"
    try:
        found: type[ScaleRule] | None = imported(path)
    except ImportError as error:
        raise UserError(f"{rule}, got {path!r}: {error}") from error
    if found is None:
        raise UserError(f"{rule}, got {path!r}")
    return found()


@scale_rule("learned")
class Learned:
    """Learned from the MSE-optimal start (Esser et al. 2020, LSQ)."""

    learned = True

    def start(self, weight: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
        return mse_scale(weight, grid, per_channel=per_channel)


@scale_rule("fixed")
class Fixed(Learned):
    """The MSE-optimal start, kept."""

    learned = False


@scale_rule("mean")
class Mean:
    """2.5 * mean|W| over all levels, without gradient (Bit-RNN, He et al. 2016, section 3)."""

    def follow(self, weight: Tensor, grid: Grid, magnitude: Tensor | None) -> Tensor:
        mean = mean_magnitude(weight) if magnitude is None else magnitude
        scale = 2.5 / (grid.qmax - grid.qmin) * mean.detach()
        return scale.reshape([1] * weight.ndim)


def mse_scale(values: Tensor, grid: Grid, *, per_channel: bool) -> Tensor:
    """The step size with the smallest mean squared error.

    Step sizes from a twentieth of the largest value's to a tenth more than it are tried (a midtread
    grid reaches less far up than down), then finer ones around the best, which is refined by
    alternating between codes and the least-squares step size for these codes.

    Returns:
        shape [rows, 1, ...] per channel, else [1, 1, ...]; broadcasts against ``values``.
    """
    rows = values.detach().flatten(1) if per_channel else values.detach().reshape(1, -1)
    some = max(1, CACHED // max(1, rows.shape[1])) if rows.device.type == "cpu" else len(rows)
    parts = torch.split(rows, max(1, some))
    best = torch.cat([_mse_scales(part, grid) for part in parts])
    return best.view(-1, *[1] * (values.ndim - 1))


def _mse_scales(rows: Tensor, grid: Grid) -> Tensor:
    """The same of each row, [rows, 1]."""
    widest = (rows.abs().amax(1, keepdim=True) / grid.max_level).clamp_min(SMALLEST_SCALE)
    best = widest.clone()
    least = torch.full_like(widest, math.inf)
    for share in torch.linspace(1.1, 0.05, 22).tolist():
        least, best = _better(rows, widest * share, grid, least, best)
    coarse = best
    for share in torch.linspace(-0.045, 0.045, 10).tolist():
        tried = (coarse + widest * share).clamp_min(SMALLEST_SCALE)
        least, best = _better(rows, tried, grid, least, best)
    for _ in range(3):
        levels = encode(rows, best, grid).add_(grid.offset)
        fitted = (rows * levels).sum(1, keepdim=True) / (levels * levels).sum(1, keepdim=True)
        fitted = torch.where(fitted > SMALLEST_SCALE, fitted, best)  # also drops 0 / 0
        least, best = _better(rows, fitted, grid, least, best)
    return best


def _better(
    rows: Tensor, scale: Tensor, grid: Grid, least: Tensor, best: Tensor
) -> tuple[Tensor, Tensor]:
    error = (decode(encode(rows, scale, grid), scale, grid).sub_(rows)).square_()
    error = error.mean(1, keepdim=True)
    better = error < least
    return torch.where(better, error, least), torch.where(better, scale, best)


def mean_magnitude(*tensors: Tensor) -> Tensor:
    """mean|W| over all values of the tensors together, a scalar."""
    total = torch.stack([tensor.abs().sum() for tensor in tensors]).sum()
    return total / sum(tensor.numel() for tensor in tensors)
