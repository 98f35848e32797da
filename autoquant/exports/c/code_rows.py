"""Rows of codes at their own bits: how they are packed, and the C functions that read them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from autoquant.plan import TERNARY, Bits
from autoquant.quantization.bitpacking import pack, packed_bytes

GROUP = 8
"""Codes that are read at a time; five where a code has 1.6 bits."""
PADDING = GROUP - 1
"""Entries behind a row of inputs, and bytes behind a weight, that are read and do not count."""


_DOT = re.compile(r"dot_([1-8]|ternary)_(u?int8)")
_UNPACK = re.compile(r"unpack_([1-8]|ternary)")


def packed_rows(codes: NDArray[np.int8], qmin: int, bits: Bits) -> tuple[NDArray[np.uint8], int]:
    """Rows of codes, each from a whole byte on, and the bytes of a row.

    Code i of a row is bits [i*k, (i+1)*k) of it, the least significant first; 1.6 bits: five codes
    are the digits of a byte in base three. Zeros follow the last row, see PADDING.

    Args:
        codes: [rows, columns].
        qmin: the smallest code.
        bits: 1 to 8, or 1.6.
    """
    rows, columns = codes.shape
    group = 5 if bits == TERNARY else GROUP
    unsigned = (codes.astype(np.int16) - qmin).astype(np.uint8)
    padded = np.pad(unsigned, ((0, 0), (0, -columns % group)))
    row_bytes = packed_bytes(columns, bits)
    stream = pack(padded.reshape(-1), bits).reshape(rows, -1)[:, :row_bytes].reshape(-1)
    return np.concatenate([stream, np.zeros(PADDING, np.uint8)]), row_bytes


def suffix(bits: Bits) -> str:
    """Of the names of functions that read codes.

    Args:
        bits: 1 to 8, or 1.6.
    """
    return "ternary" if bits == TERNARY else str(int(bits))


def dot_name(bits: Bits, *, unsigned: bool) -> str:
    """Name of the function that multiplies a row of codes with codes of inputs.

    Args:
        bits: of the row.
        unsigned: whether the inputs' codes need eight bits without a sign.
    """
    return f"dot_{suffix(bits)}_{'uint8' if unsigned else 'int8'}"


def reader(name: str) -> str | None:
    """The C function of that name, or None where it is none that reads codes.

    Args:
        name: "dot_4_int8", "unpack_ternary", ...
    """
    if found := _DOT.fullmatch(name):
        return _dot(name, *found.groups())
    if found := _UNPACK.fullmatch(name):
        return _unpack(name, found[1])
    return None


def _code(index: int, bits: int) -> str:
    """The expression of a code in a group that starts at w[0]."""
    byte, shift = divmod(index * bits, 8)
    if bits == 8:
        return f"w[{byte}]"
    text = f"w[{byte}]" if not shift else f"w[{byte}] >> {shift}"
    if shift + bits > 8:
        text = f"({text} | w[{byte + 1}] << {8 - shift})"
    return f"({text})" if shift + bits == 8 else f"({text} & {(1 << bits) - 1})"


def interleaved(bits: Bits) -> bool:
    """Whether inputs lie as ``place_of`` says: two codes of a row then multiply at a time on Arm.

    Args:
        bits: of the row.
    """
    return bits != TERNARY and bits <= 4


PLACES = (0, 1, 4, 5, 2, 3, 6, 7)
"""Where the inputs of a group lie that are interleaved; see ``place_of`` in rounding.h."""
_HALVES = {
    1: "w[0] | (uint32_t)w[0] << 12",
    2: "(w[0] | w[1] << 8) | (uint32_t)(w[0] | w[1] << 8) << 8",
    3: "w[0] | (w[1] & 15) << 8 | (uint32_t)(w[1] >> 4 | w[2] << 4) << 16",
    4: "w[0] | w[1] << 8 | w[2] << 16 | (uint32_t)w[3] << 24",
}
"""The first four codes of a group from bit 0 on, and the others from bit 16 on; bits between have
no meaning."""


def _arm_step(bits: int, inputs: str) -> str:
    """A group of codes on Arm processors that multiply two pairs of 16 bits at a time.

    Args:
        bits: 1 to 4.
        inputs: "int8" or "uint8".
    """
    mask = (1 << bits) - 1
    pairs = [f"codes & 0x{mask:04x}{mask:04x}"]
    pairs += [f"codes >> {bits * i} & 0x{mask:04x}{mask:04x}" for i in range(1, 4)]
    parts = [f"even_{inputs}(a)", f"odd_{inputs}(a)", f"even_{inputs}(b)", f"odd_{inputs}(b)"]
    sums = "".join(
        f"        sum = add_two(sum, {part}, {pair});\n"
        for part, pair in zip(parts, pairs, strict=True)
    )
    return (
        f"        const uint32_t codes = {_HALVES[bits]};\n"
        "        const uint32_t a = four_bytes(x), b = four_bytes(x + 4);\n"
        f"{sums}"
    )


_THIRDS = """        const int32_t a = *w++, b = a * 171 >> 9, c = b * 171 >> 9, d = c * 171 >> 9;
        const int32_t e = d * 171 >> 9; /* x * 171 >> 9 is x / 3 up to 255 */
"""
_DIGITS = ("a - 3 * b", "b - 3 * c", "c - 3 * d", "d - 3 * e", "e")


def _dot(name: str, bits: str, inputs: str) -> str:
    """A function that multiplies codes; the inputs end with PADDING zeros.

    Args:
        name: of it.
        bits: "1" to "8" or "ternary".
        inputs: "int8" or "uint8".
    """
    head = f"static int32_t {name}(const uint8_t *w, const void *inputs, int32_t n) {{\n"
    head += f"    const {inputs}_t *x = inputs;\n    int32_t sum = 0;\n"
    step, body = 5, _THIRDS
    if bits == "ternary":
        body += _sums([f"x[{i}] * ({digit})" for i, digit in enumerate(_DIGITS)])
    else:
        step, body = GROUP, _group(int(bits), inputs) + f"        w += {bits};\n"
    loop = f"    for (; n > 0; n -= {step}, x += {step}) {{\n{body}    }}\n"
    return f"{head}{loop}    return sum;\n}}\n"


def _group(bits: int, inputs: str) -> str:
    """The products of a group of codes; see ``_dot``."""
    places = PLACES if interleaved(bits) else range(GROUP)
    portable = _sums([f"x[{place}] * {_code(i, bits)}" for i, place in enumerate(places)])
    if not interleaved(bits):
        return portable
    return f"#ifdef HAS_PAIRS\n{_arm_step(bits, inputs)}#else\n{portable}#endif\n"


def _sums(terms: list[str]) -> str:
    pairs = [" + ".join(terms[i : i + 2]) for i in range(0, len(terms), 2)]
    return "".join(f"        sum += {pair};\n" for pair in pairs)


def _unpack(name: str, bits: str) -> str:
    """A function that writes codes plus `low`, and up to PADDING bytes more.

    Args:
        name: of it.
        bits: "1" to "8" or "ternary".
    """
    head = f"static void {name}(const uint8_t *w, int32_t n, int32_t low, int8_t *codes) {{\n"
    if bits == "ternary":
        values: list[str] = [*_DIGITS]
        step, before, after = 5, _THIRDS, ""
    else:
        values = [_code(i, int(bits)) for i in range(GROUP)]
        step, before, after = GROUP, "", f"        w += {bits};\n"
    lines = "".join(
        f"        codes[{i}] = (int8_t)({value} + low);\n" for i, value in enumerate(values)
    )
    loop = f"    for (; n > 0; n -= {step}, codes += {step}) {{\n{before}{lines}{after}    }}\n"
    return f"{head}{loop}}}\n"
