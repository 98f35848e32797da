"""How the codes of a weight become integers that ONNX can hold.

The values of a weight are ``scale * (code + offset)``. ONNX has ``scale * (integer - zero point)``
with an integer zero point, which cannot hold the offset 1/2 of a midrise grid: there the integers
are ``2 * code + 1``, and the scale is halved. Both are exact in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.exports.weights import CodedWeight, Floats

WIDTHS = (2, 4, 8)
"""Bits of the integers that ONNX Runtime stores."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A weight as integers.

    Attributes:
        integers: int8, in the weight's shape.
        scale: float32, of each row, [rows].
        bits: that hold any of the integers: 2, 4 or 8.
        shift: what is added to each integer, 0 or 1/2: 1/2 where twice the code plus one does not
            fit into 8 bits, or where 2 bits are wanted.
    """

    integers: NDArray[np.int8]
    scale: Floats
    bits: int
    shift: float = 0.0

    def values(self) -> Floats:
        """The float32 values."""
        scale = self.scale.reshape(-1, *[1] * (self.integers.ndim - 1))
        return (self.integers.astype(np.float32) + np.float32(self.shift)) * scale


def levels_of(weight: CodedWeight, least: int = 4) -> Levels:
    """A weight as integers of 2, 4 or 8 bits.

    >>> # 2 bits, midrise: codes -2, -1, 0, 1 are the integers -3, -1, 1, 3 with half the scale

    Args:
        weight: codes and scales.
        least: fewest bits of the integers.
    """
    grid, scale = weight.grid, weight.rows_scale
    low, high = grid.qmin, grid.qmax
    if not grid.offset:
        return Levels(weight.codes, scale, _bits(low, high, least))
    if 2 * high + 1 > 127:
        return Levels(weight.codes, scale, 8, shift=0.5)
    if least == 2 and high <= 1:
        return Levels(weight.codes, scale, 2, shift=0.5)
    doubled = (2 * weight.codes.astype(np.int16) + 1).astype(np.int8)
    half = scale * np.float32(0.5)
    return Levels(doubled, half, _bits(2 * low + 1, 2 * high + 1, least))


def bits_in_onnx(bits: float, offset: float, least: int = 4) -> int:
    """Bits of a weight's integers, from its bits in a plan.

    Args:
        bits: of the plan, 1 to 8 or 1.6.
        offset: of the grid: 0, or 1/2 for midrise.
        least: fewest bits of the integers.
    """
    if bits == 1.6:
        return _bits(-1, 1, least)
    half = 1 << int(bits) - 1
    if least == 2 and half <= 2:
        return 2
    low, high = (1 - 2 * half, 2 * half - 1) if offset else (-half, half - 1)
    return 8 if high > 127 else _bits(low, high, least)


def _bits(low: int, high: int, least: int) -> int:
    """The smallest width of WIDTHS that holds some integers.

    Args:
        low: the smallest of them.
        high: the largest.
        least: the smallest width that is allowed.
    """
    return next(
        width
        for width in WIDTHS
        if width >= least and -(1 << width - 1) <= low and high < 1 << width - 1
    )


def packed(integers: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Integers as unsigned ones above the lowest, the first in the lowest bits of a byte.

    Args:
        integers: [..., n], where n * bits is a multiple of 8.
        bits: 2, 4 or 8.
    """
    unsigned = (integers.astype(np.int16) + (1 << bits - 1)).astype(np.uint8)
    if bits == 8:
        return unsigned
    parts = unsigned.reshape(*unsigned.shape[:-1], -1, 8 // bits)
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    joined: NDArray[np.uint8] = np.bitwise_or.reduce(parts << shifts, -1)
    return joined
