"""Sensitivity: how much the loss rises when the weights of one layer alone have few bits.

The rises of several layers about add up, so that they say where bits are best spent before anything
has been trained (as HAWQ-V2, Dong et al. 2020, section 3, does with curvatures).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoquant.errors import UserError
from autoquant.plan import WEIGHT_FIELDS


@dataclass(frozen=True)
class Sensitivity:
    """What few bits cost, layer by layer.

    Attributes:
        rises: for each dimension of weight bits, by its name: its choices, rising, and for each the
            rise of the loss over the float model's. At least 0, and never rising with the bits.
    """

    rises: Mapping[str, Mapping[float, float]]

    def to_json(self) -> str:
        return json.dumps({"rises": self.rises}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Sensitivity:
        """Raises a UserError where the file is not what a search wrote."""
        try:
            rises = json.loads(path.read_text(encoding="utf-8"))["rises"]
            return cls(
                {
                    _dimension(name): {float(bits): float(rise) for bits, rise in each.items()}
                    for name, each in rises.items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"'{path}' must be as a search wrote it, got {error!r}") from error


def _dimension(name: str) -> str:
    """The name of a layer and a field, if it is one."""
    if not name.endswith(tuple(f".{field}" for field in WEIGHT_FIELDS)):
        raise ValueError(name)
    return name
