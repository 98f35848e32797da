"""Integer codes <-> dense bytes, 1 to 8 bits each, no padding between codes.

Code i takes bits [i*k, (i+1)*k) of the stream; bit j of the stream is bit j % 8 (least significant
first) of byte j // 8. The last byte is filled with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
CHUNK = 1 << 20  # codes at a time: a multiple of 8, so that chunks end on whole bytes


def packed_bytes(count: int, bits: int) -> int:
    """Number of bytes that ``count`` codes of ``bits`` bits take.

    >>> packed_bytes(3, 3)
    2
    """
    return (count * bits + 7) // 8


def pack(codes: Bytes, bits: int) -> Bytes:
    """Pack unsigned codes below 2**bits, shape [n], into packed_bytes(n, bits) bytes."""
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be in [1, 8], got {bits}")
    if codes.size and int(codes.max()) >= 1 << bits:
        raise ValueError(f"codes must be below {1 << bits}, got {int(codes.max())}")
    chunks = [_pack(codes[i : i + CHUNK], bits) for i in range(0, codes.size, CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.uint8)


def unpack(packed: Bytes, bits: int, count: int) -> Bytes:
    """The ``count`` codes that ``pack`` packed, shape [count]."""
    if packed.size != packed_bytes(count, bits):
        raise ValueError(
            f"{count} codes of {bits} bits must take {packed_bytes(count, bits)} bytes, "
            f"got {packed.size}"
        )
    step = CHUNK * bits // 8
    chunks = [_unpack(packed[i : i + step], bits) for i in range(0, packed.size, step)]
    codes = np.concatenate(chunks) if chunks else np.zeros(0, np.uint8)
    return codes[:count]


def _pack(codes: Bytes, bits: int) -> Bytes:
    stream = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(stream, bitorder="little")


def _unpack(packed: Bytes, bits: int) -> Bytes:
    stream = np.unpackbits(packed, bitorder="little")
    whole = stream[: stream.size // bits * bits].reshape(-1, bits)
    return np.packbits(whole, axis=1, bitorder="little")[:, 0]
