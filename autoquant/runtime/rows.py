"""Integer codes packed row by row: any device can decode them, some rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WORKSPACE = 1 << 24  # bytes of bits that are held unpacked at a time


def pack_rows(codes: Tensor, bits: int) -> Tensor:
    """Pack unsigned codes, each row to whole bytes.

    Code i of a row takes its bits [i*bits, (i+1)*bits), least significant first.

    Args:
        codes: [rows, columns] below 2**bits, uint8.
        bits: of a code, 1 to 8.

    Returns:
        bytes [rows, ceil(columns * bits / 8)].
    """
    rows = max(1, WORKSPACE // max(1, codes.shape[1] * bits))
    return torch.cat([_pack(part, bits) for part in codes.split(rows)])  # type: ignore[no-untyped-call]


def _pack(codes: Tensor, bits: int) -> Tensor:
    places = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    stream = (codes[:, :, None] >> places & 1).flatten(1)  # [rows, columns * bits]
    stream = F.pad(stream, (0, -stream.shape[1] % 8)).view(len(codes), -1, 8)
    weights = 1 << torch.arange(8, dtype=torch.uint8, device=codes.device)
    return torch.sum(stream * weights, 2, dtype=torch.uint8)


def unpack_rows(packed: Tensor, bits: int, columns: int) -> Tensor:
    """The codes that ``pack_rows`` packed.

    Args:
        packed: bytes [..., ceil(columns * bits / 8)].
        bits: of a code, 1 to 8.
        columns: codes of a row.

    Returns:
        unsigned codes [..., columns], uint8.
    """
    first_bit = torch.arange(columns, device=packed.device) * bits
    byte, shift = first_bit // 8, (first_bit % 8).to(torch.int16)
    padded = F.pad(packed, (0, 1)).to(torch.int16)
    pair = padded[..., byte] | padded[..., byte + 1] << 8
    return (pair >> shift & (1 << bits) - 1).to(torch.uint8)
