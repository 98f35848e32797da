"""Grids of integer codes, and which codes a fake-quantized tensor holds.

A fake-quantized tensor is float, but every value is ``scale * (code + offset)``. ``fake_quantize``
attaches these quantization parameters to its result. A kernel that finds them computes with the
integer codes, which it recovers exactly; without them it computes in float. Every operation on the
tensor returns a tensor without them, so they cannot be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autoquant.plan import TERNARY, Bits

_ATTRIBUTE = "_autoquant_quant_params"


@dataclass(frozen=True)
class Grid:
    """Integer codes from ``qmin`` to ``qmax``; a code's level is ``code + offset``.

    Attributes:
        qmin: the smallest code.
        qmax: the largest code.
        offset: 0 (midtread: zero is a level), or 1/2 (midrise: zero lies between two levels).
    """

    qmin: int
    qmax: int
    offset: float

    @classmethod
    def signed(cls, bits: Bits, kind: str = "auto") -> Grid:
        """2**bits levels around zero; three levels (-1, 0, 1) for 1.6 bits, whatever the kind.

        >>> Grid.signed(2), Grid.signed(1.6)
        (Grid(qmin=-2, qmax=1, offset=0.5), Grid(qmin=-1, qmax=1, offset=0.0))

        Args:
            bits: 1 to 8, or 1.6.
            kind: "midrise", "midtread", or "auto": midrise up to 3 bits. 1 bit is always midrise.
        """
        if bits == TERNARY:
            return cls(-1, 1, 0.0)
        half = 1 << int(bits) - 1
        midrise = kind == "midrise" or bits == 1 or (kind == "auto" and bits <= 3)
        return cls(-half, half - 1, 0.5 if midrise else 0.0)

    @classmethod
    def unsigned(cls, bits: int) -> Grid:
        """2**bits levels from zero upwards.

        Args:
            bits: 1 to 8.
        """
        return cls(0, (1 << bits) - 1, 0.0)

    @property
    def max_level(self) -> float:
        """The largest magnitude of a level, in multiples of the scale."""
        return max(self.qmax + self.offset, -self.qmin - self.offset)


@dataclass(frozen=True)
class QuantSpec:
    """How a tensor is fake-quantized, all but its scale: values only, no tensor.

    Attributes:
        grid: the codes.
        clip: whether codes are clipped to the grid. Bit-RNN's activations are not.
        masked: whether the gradient of clipped values is zero (LSQ) or passes (Bit-RNN); False
            where nothing is clipped.
    """

    grid: Grid
    clip: bool = True
    masked: bool = True


@dataclass(frozen=True)
class QuantParams:
    """The scale and the grid of a fake-quantized tensor.

    Attributes:
        scale: detached; one number, or [rows, 1, ...] with one for each row of a weight.
        grid: the codes.
    """

    scale: Tensor
    grid: Grid


def attach_quant_params(values: Tensor, params: QuantParams) -> Tensor:
    """Attach quantization parameters to a tensor.

    Args:
        values: whose values are all ``scale * (code + offset)``.
        params: their scale and grid.

    Returns:
        ``values`` itself; torch.compile gets them without, since it cannot follow an attribute.
    """
    if torch.compiler.is_compiling():
        return values
    setattr(values, _ATTRIBUTE, (params, _version(values)))
    return values


def has_quant_params(values: Tensor) -> bool:
    """Whether quantization parameters were attached to a tensor; it may have changed since.

    Args:
        values: any tensor.
    """
    return hasattr(values, _ATTRIBUTE)


def quant_params_of(values: Tensor) -> QuantParams | None:
    """The quantization parameters that are attached to a tensor.

    Args:
        values: any tensor.

    Returns:
        None where there are none, or where the tensor was changed in place since.
    """
    attached = getattr(values, _ATTRIBUTE, None)
    if attached is None:
        return None
    params, version = attached
    return params if version == _version(values) else None


def _version(values: Tensor) -> int:
    """How often a tensor was changed in place; inference tensors do not count that."""
    return 0 if values.is_inference() else values._version


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """Selected rows of a weight, with their quantization parameters where it has some.

    Args:
        values: [N, ...].
        rows: indices into the first axis, [n].
    """
    chosen, params = values[rows], quant_params_of(values)
    if params is None:
        return chosen
    scale = params.scale if params.scale.numel() == 1 else params.scale[rows]
    return attach_quant_params(chosen, replace(params, scale=scale))


def encode(values: Tensor, scale: Tensor, grid: Grid, *, clip: bool = True) -> Tensor:
    """The nearest codes, as whole numbers in the values' own dtype.

    Args:
        values: float, any shape.
        scale: broadcasts against ``values``.
        grid: the codes.
        clip: whether codes are clipped to the grid.
    """
    codes = values / scale
    if grid.offset:
        codes.sub_(grid.offset)
    codes.round_()
    return codes.clamp_(grid.qmin, grid.qmax) if clip else codes


def decode(codes: Tensor, scale: Tensor, grid: Grid, *, out: Tensor | None = None) -> Tensor:
    """The values ``scale * (code + offset)``.

    Args:
        codes: whole numbers in a float dtype, any shape.
        scale: broadcasts against ``codes``.
        grid: the codes.
        out: where the values are written; may be ``codes`` itself. None for a new tensor.
    """
    return torch.add(codes, grid.offset, out=out).mul_(scale)
