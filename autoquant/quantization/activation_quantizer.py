"""The module that fake-quantizes an activation: a layer's input or a hidden state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.quantization.codes import Grid, QuantSpec
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.quantization.scale_rules import mse_scale
from autoquant.quantization.storage import cast
from autoquant.settings import Scheme

LARGEST_LOG_SCALE = 80
"""e**80 times any code is finite in float32, and e**-80 is not 0."""


class ActivationQuantizer(nn.Module):
    """Fake-quantizes an activation with one scale, which starts at the MSE-optimal one.

    After construction it observes: values pass unchanged and a sample of them is kept. ``finish``
    ends that and chooses the scale, and whether the grid is signed. A grid of [0, 1]
    (``activation_scale: unit``) needs no observation.

    Args:
        bits: 1 to 8, 16 or 32.
        scheme: how activations are quantized.

    Attributes:
        keep: share of the values that a dropout right before keeps in training; 1 without one.
        waiting: whether it observes, and has seen nothing but tensors without values.
    """

    SAMPLE = 1024  # values kept from each observed tensor, all of a smaller one
    TENSORS = 512  # tensors that are sampled: a hidden state comes once for each time step

    qmin: Tensor

    def __init__(self, bits: int, scheme: Scheme) -> None:
        super().__init__()
        self.bits = bits
        self.scheme = scheme
        self.unit = scheme.activation_scale == "unit"
        self.observed: list[Tensor] | None = None
        self.keep = 1.0
        self.waiting = False
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
        """The scale, a scalar that may be learned; its logarithm is rounded as in the file."""
        log_scale: Tensor = self.log_scale
        if log_scale.dtype == torch.float64:  # the rounding has no gradient
            log_scale = log_scale + (log_scale.float() - log_scale).detach()
        return log_scale.exp()

    def spec(self) -> QuantSpec | None:
        """How ``forward`` quantizes, beside ``scale``; None where it does not make codes."""
        if self.bits > 8 or self.observed is not None:
            return None
        clip = self.scheme.activation_clip
        return QuantSpec(self.grid, clip, masked=clip and self.scheme.clip_gradient == "mask")

    def forward(self, values: Tensor) -> Tensor:
        """Fake-quantize, or observe.

        Args:
            values: the activation, any shape.
        """
        if self.bits > 8:
            return cast(values, self.bits)
        if self.observed is not None:
            self._observe(values.detach())
            return values
        spec = self.spec()
        assert spec is not None
        return fake_quantize(values, self.scale(), spec.grid, clip=spec.clip, masked=spec.masked)

    def observe(self) -> None:
        """Let values pass unchanged and keep a sample, where the scale depends on them."""
        self.observed = None if self.unit or self.bits > 8 else []
        self.waiting = False

    def _observe(self, values: Tensor) -> None:
        assert self.observed is not None
        count = len(self.observed)
        self.waiting = count == 0 and values.numel() == 0
        if values.numel() == 0:
            return
        if count >= self.TENSORS:
            return
        flat = values.flatten()
        if flat.numel() > self.SAMPLE:
            generator = torch.Generator().manual_seed(count)
            chosen = torch.randint(flat.numel(), (self.SAMPLE,), generator=generator)
            flat = flat[chosen.to(flat.device)]
        self.observed.append(flat.float().clone())

    def finish(self) -> None:
        """Stop observing; set the grid and the scale from the observed sample.

        Where there is none, the grid is signed, and its range is [-1, 1] at first.
        """
        if self.observed is None:
            return
        values = torch.cat(self.observed or [torch.tensor([-1.0, 1.0])]).to(self.qmin.device)
        self.observed, self.waiting = None, False
        self._set_grid(-(1 << self.bits - 1) if bool((values < 0).any()) else 0)
        scale = mse_scale(values[None], self.grid, per_channel=False)
        with torch.no_grad():
            self.log_scale.copy_(scale.squeeze().log())

    def restore(self, log_scale: float, qmin: float) -> None:
        """Set a grid and a scale that were stored.

        Args:
            log_scale: natural logarithm of the scale.
            qmin: the smallest code: 0, or that of a signed grid.

        Raises:
            UserError: the scale is not finite or 0, or no grid begins with that code.
        """
        allowed = (0,) if self.unit else (0, -(1 << self.bits - 1))
        if qmin not in allowed:
            codes = " or ".join(map(str, allowed))
            raise UserError(f"the smallest code must be {codes}, got {qmin}")
        if not abs(log_scale) < LARGEST_LOG_SCALE:
            requirement = f"the scale's logarithm must be within {LARGEST_LOG_SCALE} of 0"
            raise UserError(f"{requirement}, got {log_scale}")
        self.observed = None
        self._set_grid(int(qmin))
        with torch.no_grad():
            self.log_scale.fill_(log_scale)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load, and leave observation: a checkpoint is of a calibrated model.

        Args:
            state: tensors by name.
            prefix: of this module's names.
            rest: as in ``nn.Module``.
        """
        super()._load_from_state_dict(state, prefix, *rest)
        if self.bits <= 8 and f"{prefix}qmin" in state:
            self.observed = None
            self._set_grid(int(self.qmin))
