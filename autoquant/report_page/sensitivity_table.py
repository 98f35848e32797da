"""SensitivityTable: how much the loss increases with few bits in one place, for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoquant.figures.sensitivity import DECADES, SensitivityData, SensitivityRow, is_noise

SHADES = 9
"""Shades of a cell, from 1 to this."""


@dataclass(frozen=True)
class SensitivityCell:
    """An increase of the loss with some bits.

    Attributes:
        text: for people.
        value: to sort by; None where none was measured.
        shade: from 0, none, to SHADES.
        noise: whether it is within the noise.
        chosen: whether the chosen plan takes these bits.
    """

    text: str
    value: float | None
    shade: int
    noise: bool
    chosen: bool


@dataclass(frozen=True)
class SensitivityTable:
    """The table.

    Attributes:
        data: columns, names and what they are relative to.
        rows: a name and its cells.
    """

    data: SensitivityData
    rows: tuple[tuple[str, tuple[SensitivityCell, ...]], ...]


def sensitivity_table(data: SensitivityData | None) -> SensitivityTable | None:
    """The table of a measured sensitivity; None where there is none.

    Args:
        data: of all layers.
    """
    if data is None:
        return None
    finite = [v for row in data.rows for v in row.increases if v and math.isfinite(v)]
    top = math.log10(max(finite, default=1.0))
    return SensitivityTable(data, tuple((row.name, _cells(row, top)) for row in data.rows))


def _cells(row: SensitivityRow, top: float) -> tuple[SensitivityCell, ...]:
    """The cells of a row.

    Args:
        row: of a layer.
        top: logarithm to base 10 of the largest increase in the table.
    """
    return tuple(
        SensitivityCell(
            text=text,
            value=None if value is None or math.isinf(value) else value,
            shade=_shade(value, top) if not _noise(value, error) else 0,
            noise=_noise(value, error),
            chosen=column == row.chosen,
        )
        for column, (text, value, error) in enumerate(
            zip(row.texts, row.increases, row.errors, strict=True)
        )
    )


def _noise(value: float | None, error: float | None) -> bool:
    return value is not None and math.isfinite(value) and is_noise(value, error)


def _shade(value: float | None, top: float) -> int:
    """Darker with each part of a power of ten; the largest ones darkest."""
    if value is None or value <= 0:
        return 0
    depth = 1.0 if math.isinf(value) else 1 + (math.log10(value) - top) / DECADES
    return round(SHADES * min(max(depth, 0.0), 1.0))
