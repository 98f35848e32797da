"""Fake quantization of the hidden state by hand: in place forward, all steps at once back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoquant.kernels.recurrent.engine import Job
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.quantization.codes import Grid


@dataclass(frozen=True)
class Rounding:
    """The same numbers and gradients as quantizer.fake_quantize.

    Attributes:
        grid: the codes.
        clip: whether codes are held inside the grid.
        masked: whether the gradient of clipped values is stopped.
        scale: the step size, a scalar.
    """

    grid: Grid
    clip: bool
    masked: bool
    scale: Tensor

    @classmethod
    def of(cls, job: Job, scale: Tensor | None) -> Rounding | None:
        """What a job asks for, or None."""
        if job.grid is None or scale is None:
            return None
        return cls(job.grid, job.clip, job.masked, scale)

    def round_(self, values: Tensor) -> None:
        """Encode and decode in place."""
        values.div_(self.scale)
        if self.grid.offset:
            values.sub_(self.grid.offset)
        values.round_()
        if self.clip:
            values.clamp_(self.grid.qmin, self.grid.qmax)
        if self.grid.offset:
            values.add_(self.grid.offset)
        values.mul_(self.scale)

    def inside(self, exact: Tensor, rounded: Tensor) -> Tensor | None:
        """From values before and after, [N, H]: 1 where the gradient passes, 0 where it is stopped.

        None where it passes everywhere. Numbers, not booleans: multiplying is what is fast.
        """
        if not self.masked:
            return None
        return torch.sub(rounded, exact).abs_().le_(0.5001 * self.scale)

    def scale_gradient(
        self,
        grad: Tensor,
        exact: Tensor,
        rounded: Tensor,
        inside: Tensor | None,
        steps: PackedBatch,
    ) -> Tensor:
        """From the gradient of rounded values [N, H]; each step is scaled as one tensor."""
        if inside is None:
            slope = rounded - exact
        else:  # clipped values move with the step size by their level
            slope = torch.addcmul(rounded, inside, exact, value=-1)
        cells = grad.shape[1] * self.grid.max_level
        shares = [1 / math.sqrt(max(size, 1) * cells) for size in steps.sizes]
        total = torch.mv(slope.mul_(grad).t(), steps.spread(shares, grad)).sum()
        return (total / self.scale).to(self.scale.dtype)
