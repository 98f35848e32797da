"""Texts in figures: scores, widths, and the names of outcomes and layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from autoquant.study.outcome import Outcome
from autoquant.study.reference_name import reference_name

MIN_RELATIVE_ERROR = 1e-6
"""Smaller errors, relative to the score, do not say how many digits of it are written."""


def format_score(score: float) -> str:
    """A score for people: four significant digits, thousands without decimals.

    Args:
        score: in the metric's unit.

    >>> format_score(12345.6), format_score(38.123)
    ('12,346', '38.12')
    """
    return f"{score:,.0f}" if 1000 <= abs(score) < 1e7 else f"{score:.4g}"


def format_with_error(score: float, error: float) -> str:
    """A score and its standard error: two digits of the error, and as many decimals of the score.

    Args:
        score: in the metric's unit.
        error: in the same; where it is not a number, the score alone is written.

    >>> format_with_error(28.4837, 0.0312), format_with_error(28.4837, math.nan)
    ('28.484 ± 0.031', '28.48')
    >>> format_with_error(1234.5, 31.4)
    '1,234 ± 31'
    """
    if math.isnan(error):
        return format_score(score)
    if error < MIN_RELATIVE_ERROR * abs(score) or 0 < abs(score) < 1e-3 or error == 0:
        return f"{format_score(score)} ± {error:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{score:,.{decimals}f} ± {error:,.{decimals}f}"


def common_decimals(scores: Iterable[float]) -> int:
    """The decimals of a table of scores: four significant digits of the one in the middle.

    Args:
        scores: of the table.

    >>> common_decimals([94.99, 104.9, 115]), common_decimals([0.91, 0.885]), common_decimals([])
    (1, 4, 0)
    """
    sizes = [abs(score) for score in scores if score and math.isfinite(score)]
    return max(0, 3 - math.floor(math.log10(median(sizes)))) if sizes else 0


def with_decimals(value: float, decimals: int) -> str:
    """A number, or what it is below where none of its digits is written.

    Args:
        value: at least 0.
        decimals: of the text.

    >>> with_decimals(1234.5, 1), with_decimals(0.0, 2), with_decimals(0.004, 2)
    ('1,234.5', '0.00', '<0.01')
    """
    smallest = 10.0**-decimals
    return f"<{smallest:.{decimals}f}" if 0 < value < smallest else f"{value:,.{decimals}f}"


def format_width(width: float) -> str:
    """A width as it is written in figures.

    Args:
        width: multiplier of a layer's neurons; 1.0 is the width before widening.

    >>> format_width(1.5)
    'x1.5'
    """
    return f"x{width:.4g}"


def outcome_label(outcome: Outcome) -> str:
    """The name of an outcome in figures: "4-bit" for a uniform reference, else its trial.

    Args:
        outcome: of a search.
    """
    return reference_name(outcome) or f"trial {outcome.trial}"


def shorten(text: str, limit: int = 36) -> str:
    """A text with its middle left out where it is too long.

    Args:
        text: a layer's name or a reason.
        limit: the most characters; 36 leave room for the data beside a layer's name.
    """
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"
