"""Integer codes <-> dense bytes, 1 to 8 bits each, no padding between codes.

Code i takes bits [i*k, (i+1)*k) of the stream; bit j of the stream is bit j % 8 (least significant
first) of byte j // 8. The last byte is filled up with zeros.

Codes of 1.6 bits are 0, 1 and 2. Five of them are the digits of a byte in base three (3**5 = 243),
least significant first; the last byte is filled up with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoquant.plan import TERNARY, Bits

Bytes = NDArray[np.uint8]
CHUNK = 5 << 18  # codes at a time: a multiple of 8 and of 5, so that chunks end on whole bytes
POWERS = 3 ** np.arange(5, dtype=np.uint8)  # of three, for the five codes of a byte
DIGITS: Bytes = (np.arange(256)[:, None] // POWERS % 3).astype(np.uint8)  # [byte, digit]


def packed_bytes(count: int, bits: Bits) -> int:
    """Number of bytes that ``count`` codes of ``bits`` bits take.

    >>> packed_bytes(3, 3), packed_bytes(11, 1.6)
    (2, 3)

    Args:
        count: number of codes.
        bits: 1 to 8, or 1.6.
    """
    return -(-count // 5) if bits == TERNARY else (count * int(bits) + 7) // 8


def pack(codes: Bytes, bits: Bits) -> Bytes:
    """Pack codes into packed_bytes(n, bits) bytes.

    Args:
        codes: unsigned, below 2**bits (for 1.6 bits below 3), [n].
        bits: 1 to 8, or 1.6.

    Raises:
        ValueError: ``bits`` is another number, or a code is too large.
    """
    if bits != TERNARY and bits not in range(1, 9):
        raise ValueError(f"bits must be in [1, 8], got {bits}")
    levels = 3 if bits == TERNARY else 1 << int(bits)
    if codes.size and int(codes.max()) >= levels:
        raise ValueError(f"codes must be below {levels}, got {int(codes.max())}")
    chunks = [_pack(codes[i : i + CHUNK], bits) for i in range(0, codes.size, CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.uint8)


def unpack(packed: Bytes, bits: Bits, count: int) -> Bytes:
    """The codes that ``pack`` packed, shape [count].

    Args:
        packed: what it returned.
        bits: the same as there.
        count: number of codes.

    Raises:
        ValueError: ``packed`` does not have packed_bytes(count, bits) bytes.
    """
    if packed.size != packed_bytes(count, bits):
        raise ValueError(
            f"{count} codes of {bits} bits must take {packed_bytes(count, bits)} bytes, "
            f"got {packed.size}"
        )
    size = packed_bytes(CHUNK, bits)
    chunks = [_unpack(packed[i : i + size], bits) for i in range(0, packed.size, size)]
    codes = np.concatenate(chunks) if chunks else np.zeros(0, np.uint8)
    return codes[:count]


def _pack(codes: Bytes, bits: Bits) -> Bytes:
    if bits == TERNARY:
        fives = np.pad(codes, (0, -codes.size % 5)).reshape(-1, 5)
        packed: Bytes = np.sum(fives * POWERS, 1, dtype=np.uint8)
        return packed
    stream = np.unpackbits(codes[:, None], axis=1, count=int(bits), bitorder="little")
    return np.packbits(stream, bitorder="little")


def _unpack(packed: Bytes, bits: Bits) -> Bytes:
    if bits == TERNARY:
        return DIGITS[packed].reshape(-1)
    stream = np.unpackbits(packed, bitorder="little")
    whole = stream[: stream.size // int(bits) * int(bits)].reshape(-1, int(bits))
    return np.packbits(whole, axis=1, bitorder="little")[:, 0]
