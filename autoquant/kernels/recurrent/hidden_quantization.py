"""Fake quantization of the hidden state by hand: in place forward, all time steps at once back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.quantization.codes import QuantSpec


@dataclass(frozen=True)
class HiddenQuantizer:
    """The same numbers and gradients as fake_quantize.

    Attributes:
        spec: how the hidden state is quantized.
        scale: its scale, a scalar.
    """

    spec: QuantSpec
    scale: Tensor

    @classmethod
    def of(cls, spec: QuantSpec | None, scale: Tensor | None) -> HiddenQuantizer | None:
        """The quantizer; None where the hidden state is not quantized.

        Args:
            spec: as in Job.
            scale: as in Operands.
        """
        return None if spec is None or scale is None else cls(spec, scale)

    def quantize_(self, values: Tensor) -> None:
        """Encode and decode in place.

        Args:
            values: hidden states, any shape.
        """
        grid = self.spec.grid
        values.div_(self.scale)
        if grid.offset:
            values.sub_(grid.offset)
        values.round_()
        if self.spec.clip:
            values.clamp_(grid.qmin, grid.qmax)
        if grid.offset:
            values.add_(grid.offset)
        values.mul_(self.scale)

    def inside(self, exact: Tensor, quantized: Tensor) -> Tensor | None:
        """1 where the gradient passes, 0 where it is masked, [N, H]; None where it passes always.

        Numbers, not booleans, because multiplying by them is faster.

        Args:
            exact: values before quantization, [N, H].
            quantized: values after it.
        """
        if not self.spec.masked:
            return None
        return torch.sub(quantized, exact).abs_().le_(0.5001 * self.scale)

    def scale_gradient(
        self,
        grad: Tensor,
        exact: Tensor,
        quantized: Tensor,
        inside: Tensor | None,
        batch: PackedBatch,
    ) -> Tensor:
        """The gradient of the scale, a scalar, with LSQ's factor for each time step as a tensor.

        Args:
            grad: of the quantized values, [N, H].
            exact: values before quantization, [N, H].
            quantized: values after it.
            inside: what ``inside`` returned.
            batch: which rows belong to which time step.
        """
        if inside is None:
            local = quantized - exact
        else:  # a clipped value is its level times the scale
            local = torch.addcmul(quantized, inside, exact, value=-1)
        weight = grad.shape[1] * self.spec.grid.max_level
        factors = [1 / math.sqrt(max(size, 1) * weight) for size in batch.sizes]
        total = torch.mv(local.mul_(grad).t(), batch.spread(factors, grad)).sum()
        return (total / self.scale).to(self.scale.dtype)
