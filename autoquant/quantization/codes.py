"""Which codes a fake-quantized tensor stands for: what lets a kernel work on integers.

A fake-quantized tensor is float, but every value is ``scale * (code + offset)``. ``fake_quantize``
marks its result with that fact; a kernel that finds the mark takes the codes back out, exactly, and
one that does not find it computes in float. Any operation on the tensor drops the mark, so a wrong
one cannot travel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autoquant.plan import TERNARY, Bits

_MARK = "_autoquant_coding"


@dataclass(frozen=True)
class Grid:
    """Integer codes from ``qmin`` to ``qmax``, shifted by ``offset`` (0 or 1/2)."""

    qmin: int
    qmax: int
    offset: float

    @classmethod
    def signed(cls, bits: Bits, kind: str = "auto") -> Grid:
        """2**bits levels around zero; of 1.6 bits -1, 0 and 1, of whatever kind.

        >>> Grid.signed(2), Grid.signed(1.6)
        (Grid(qmin=-2, qmax=1, offset=0.5), Grid(qmin=-1, qmax=1, offset=0.0))
        """
        if bits == TERNARY:
            return cls(-1, 1, 0.0)
        half = 1 << int(bits) - 1
        midrise = kind == "midrise" or bits == 1 or (kind == "auto" and bits <= 3)
        return cls(-half, half - 1, 0.5 if midrise else 0.0)

    @classmethod
    def unsigned(cls, bits: int) -> Grid:
        """2**bits levels from zero up."""
        return cls(0, (1 << bits) - 1, 0.0)

    @property
    def max_level(self) -> float:
        """The largest level, in steps."""
        return max(self.qmax + self.offset, -self.qmin - self.offset)


@dataclass(frozen=True)
class QuantParams:
    """The grid and the step size of a fake-quantized tensor.

    Attributes:
        scale: step sizes, detached; one number, or [rows, 1, ...] for each row of a weight.
        grid: the codes.
    """

    scale: Tensor
    grid: Grid


@dataclass(frozen=True)
class Rule:
    """How a tensor is fake-quantized; what a kernel needs to do it inside its loop.

    Attributes:
        scale: the step size, a scalar that may want a gradient.
        grid: the codes.
        clip: whether codes are held inside the grid.
        masked: whether the gradient of clipped values is stopped.
    """

    scale: Tensor
    grid: Grid
    clip: bool = True
    masked: bool = True


def attach_quant_params(values: Tensor, coding: QuantParams) -> Tensor:
    """Say of a tensor which codes it stands for; returns it."""
    setattr(values, _MARK, (coding, _version(values)))
    return values


def quant_params_of(values: Tensor) -> QuantParams | None:
    """The mark of a fake-quantized tensor, or None; none where it was changed in place since."""
    coding, version = getattr(values, _MARK, (None, 0))
    return coding if version == _version(values) else None


def _version(values: Tensor) -> int:
    """How often a tensor was changed in place; inference tensors do not count."""
    return 0 if values.is_inference() else values._version


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a weight; those of a marked one are marked."""
    chosen, coding = values[rows], quant_params_of(values)
    if coding is None:
        return chosen
    scale = coding.scale if coding.scale.numel() == 1 else coding.scale[rows]
    return attach_quant_params(chosen, replace(coding, scale=scale))


def encode(values: Tensor, scale: Tensor, grid: Grid, *, clip: bool = True) -> Tensor:
    """Nearest codes, as whole numbers in the values' own dtype; ``scale`` broadcasts."""
    codes = values / scale
    if grid.offset:
        codes.sub_(grid.offset)
    codes.round_()
    return codes.clamp_(grid.qmin, grid.qmax) if clip else codes


def decode(codes: Tensor, scale: Tensor, grid: Grid, *, out: Tensor | None = None) -> Tensor:
    """The values that codes stand for; ``out`` may be the codes themselves."""
    return torch.add(codes, grid.offset, out=out).mul_(scale)
