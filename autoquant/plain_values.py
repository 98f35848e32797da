"""Plain values: results as objects that ``json.dumps`` writes as valid JSON.

Records become mappings with the names of their fields, paths texts, plans what a plan file holds;
what is no finite number becomes None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoquant.plan import Plan

if TYPE_CHECKING:
    from cattrs import Converter


@cache
def _converter() -> Converter:
    """What takes records apart; cattrs is imported late, since completion must be quick."""
    from cattrs import Converter

    converter = Converter()
    converter.register_unstructure_hook(Path, str)
    converter.register_unstructure_hook(Plan, lambda plan: {"layers": plan.to_dict()})
    return converter


def plain_values(value: Any) -> Any:
    """A value without types of this package.

    Args:
        value: a record (a dataclass), a path, a plan, a number, a text, None, or a tuple, list or
            mapping of such values.

    Returns:
        numbers, texts, None, and lists and dictionaries of them. NaN and infinities are None.
    """
    return _finite(_converter().unstructure(value))


def _finite(value: Any) -> Any:
    """Nested values with lists in place of tuples, and None in place of what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(values: Mapping[str, Any]) -> str:
    """The text of one JSON object, in ASCII.

    Args:
        values: of ``plain_values``.
    """
    return json.dumps(values, indent=2, allow_nan=False)
