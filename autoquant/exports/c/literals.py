"""Numbers and arrays as C source text."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 100
"""Columns of a line."""
TYPES = {"uint8": "uint8_t", "uint16": "uint16_t", "int32": "int32_t", "float32": "float"}
"""C types of arrays, by numpy's names."""


def literal(value: Any) -> str:
    """A number: an int as an int, a float as the nearest float32.

    >>> literal(3), literal(0.1), literal(2.0), literal(float("-inf"))
    ('3', '0.1f', '2.0f', '-INFINITY')

    Args:
        value: the number.
    """
    if not isinstance(value, float | np.floating):
        return str(int(value))
    if math.isnan(value):
        return "NAN"
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if math.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    return f"{single!s}f"


def array(name: str, values: NDArray[Any]) -> str:
    """A constant array.

    Args:
        name: of it.
        values: of one of the TYPES; any shape, written flat.
    """
    cells = values.reshape(-1).tolist()
    is_float = values.dtype == np.float32
    text = (
        ", ".join(literal(np.float32(x)) for x in cells) if is_float else ", ".join(map(str, cells))
    )
    lines = textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const {TYPES[values.dtype.name]} {name}[{values.size}] = {{\n{lines}\n}};\n"
