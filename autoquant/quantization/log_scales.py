"""Step sizes in 8 bits each: sixteenths of an octave, counted down from a power of two.

The step sizes of a tensor are bytes [1 + n]: ``top + 128``, then of each step size the number d in
2**(top - d / 16). ``top`` is the lowest whole number that makes every d at least 0.

A logarithm, since what counts is how far off a step size is in percent: 2.2 at most. It is not an
error of the weights, whose codes are chosen for the step size as it is stored; the mean squared
error of normal weights rises by 0.1% at 2 bits, 0.4% at 4, 8% at 8 (with eighths 0.2, 1.2 and 19).
Whole octaves for ``top``, since then all step sizes lie on one grid, whatever the others of their
tensor are: in training each moves when it has itself come half a sixteenth further, and no other
one with it. Only what lies below those 16 octaves, as of a row of zeros, is raised to their end: to
1/30000 of the largest one at most.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

PARTS = 16  # of an octave
SPAN = 255  # parts below the top
ZERO = 128  # what ``top`` 0 is stored as
LOWEST, HIGHEST = -56 * PARTS, 127 * PARTS  # of float32; the smallest step size is 2**-39.9


def rounded(scale: Tensor) -> Tensor:
    """Step sizes as they are after storage, in their own shape and dtype; a NaN stays one."""
    parts, _ = _parts(scale)
    values = _values(scale.device)[parts - LOWEST].to(scale.dtype)
    return torch.where(scale.isnan(), scale, values)


def stored(scale: Tensor) -> Tensor:
    """Step sizes, n of any shape, as bytes [1 + n]."""
    parts, top = _parts(scale.reshape(-1))
    below = top * PARTS - parts
    return torch.cat([(top + ZERO).view(1), below]).to(torch.uint8)


def restored(packed: Tensor) -> Tensor:
    """The step sizes [n] of bytes [1 + n], float32; bit for bit what ``rounded`` gave."""
    top, below = packed[0].long() - ZERO, packed[1:].long()
    return _values(packed.device)[top * PARTS - below - LOWEST]


def _parts(scale: Tensor) -> tuple[Tensor, Tensor]:
    """Step sizes as sixteenths of octaves above 1, in their own shape, and the top octave."""
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
