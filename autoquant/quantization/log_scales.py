"""Log-quantized scales: 8 bits each, sixteenths of an octave below a power of two.

The scales of a tensor are bytes [1 + n]: ``top + 128``, then for each scale the number d in
2**(top - d / 16). ``top`` is the lowest whole number that makes every d at least 0.

Logarithms, because the relative error of a scale matters: it is 2.2% at most. This error does not
add to that of the weights, whose codes are chosen for the scale as it is stored. The mean squared
error of normal weights rises by 0.1% at 2 bits, 0.4% at 4, 8% at 8 (with eighths of an octave 0.2,
1.2 and 19). ``top`` is a whole number of octaves, so that all scales lie on one grid, whatever the
other scales of their tensor are: in training a stored scale changes only when it has itself moved
by half a sixteenth. Scales more than 16 octaves below the largest, such as that of a row of zeros,
are raised to the end of this range: to 1/30000 of the largest one at most.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from autoquant.errors import UserError

PARTS = 16  # of an octave
SPAN = 255  # parts below the top
ZERO = 128  # the byte that stores ``top`` 0
LOWEST, HIGHEST = -56 * PARTS, 127 * PARTS  # of float32; the smallest scale is 2**-39.9


def rounded(scale: Tensor) -> Tensor:
    """Scales as they are after storage, in their own shape and dtype; a NaN stays one.

    Args:
        scale: all scales of one tensor, any shape.
    """
    parts, _ = _parts(scale)
    values = _values(scale.device)[parts - LOWEST].to(scale.dtype)
    return torch.where(scale.isnan(), scale, values)


def stored(scale: Tensor) -> Tensor:
    """Scales as bytes [1 + n].

    Args:
        scale: the n scales of one tensor, any shape.
    """
    parts, top = _parts(scale.reshape(-1))
    below = top * PARTS - parts
    return torch.cat([(top + ZERO).view(1), below]).to(torch.uint8)


def restored(packed: Tensor) -> Tensor:
    """The scales [n] in float32; bit for bit what ``rounded`` gave.

    Args:
        packed: bytes [1 + n].

    Raises:
        UserError: a scale is out of the range of those that ``stored`` gives.
    """
    top, below = packed[0].long() - ZERO, packed[1:].long()
    parts = top * PARTS - below
    if bool(((parts < LOWEST) | (parts > HIGHEST)).any()):
        raise UserError(f"scales must be in [2**{LOWEST // PARTS}, 2**{HIGHEST // PARTS}]")
    return _values(packed.device)[parts - LOWEST]


def _parts(scale: Tensor) -> tuple[Tensor, Tensor]:
    """Scales as sixteenths of octaves above 1, in their own shape, and the top octave."""
    parts = (scale.float().log2() * PARTS).round().nan_to_num()
    parts = parts.clamp(LOWEST + SPAN, HIGHEST).long()
    top = -(-parts.amax() // PARTS)
    return parts.clamp_min(top * PARTS - SPAN), top


@cache
def _values(device: torch.device) -> Tensor:
    """2**(n / 16) for every n from LOWEST to HIGHEST, float32: the same on every device."""
    numbers = range(LOWEST, HIGHEST + 1)
    values = [math.ldexp(2 ** (n % PARTS / PARTS), n // PARTS) for n in numbers]
    return torch.tensor(values, dtype=torch.float32, device=device)
