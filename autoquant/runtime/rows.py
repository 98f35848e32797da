"""Integer codes packed row by row: what any device can decode, a few rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WORKSPACE = 1 << 24  # bytes


def pack_rows(codes: Tensor, bits: int) -> Tensor:
    """Unsigned codes [rows, columns] below 2**bits, uint8 -> bytes [rows, ceil(columns*bits/8)].

    Code i of a row takes its bits [i*bits, (i+1)*bits), least significant first.
    """
    some = max(1, WORKSPACE // max(1, codes.shape[1] * bits))
    return torch.cat([_pack(part, bits) for part in codes.split(some)])  # type: ignore[no-untyped-call]


def _pack(codes: Tensor, bits: int) -> Tensor:
    places = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    stream = (codes[:, :, None] >> places & 1).flatten(1)  # [rows, columns * bits]
    stream = F.pad(stream, (0, -stream.shape[1] % 8)).view(len(codes), -1, 8)
    weights = 1 << torch.arange(8, dtype=torch.uint8, device=codes.device)
    return torch.sum(stream * weights, 2, dtype=torch.uint8)


def unpack_rows(packed: Tensor, bits: int, columns: int) -> Tensor:
    """What ``pack_rows`` packed: bytes [..., B] -> unsigned codes [..., columns], uint8."""
    first = torch.arange(columns, device=packed.device) * bits
    at, shift = first // 8, (first % 8).to(torch.int16)
    padded = F.pad(packed, (0, 1)).to(torch.int16)
    pair = padded[..., at] | padded[..., at + 1] << 8
    return (pair >> shift & (1 << bits) - 1).to(torch.uint8)
