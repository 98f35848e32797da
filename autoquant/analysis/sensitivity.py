"""Sensitivity: how much the loss increases when the weights of one layer alone have few bits.

The increases of several layers approximately add up, so they tell where bits are best spent before
anything is trained (HAWQ-V2, Dong et al. 2020, section 3, uses curvatures for that).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoquant.errors import UserError, shown
from autoquant.plan import WEIGHT_FIELDS
from autoquant.reading import read_json_file

_KEY, _FORMER_KEY = "loss_increases", "rises"  # of the JSON object; studies hold both


@dataclass(frozen=True)
class Sensitivity:
    """The loss increase of each layer, for each number of weight bits.

    Attributes:
        loss_increases: for each dimension of weight bits, by its name ("rnn.l0.weight_bits"): its
            choices in rising order, and for each the training loss minus that of the float model,
            in the loss's unit. At least 0, never larger with more bits.
    """

    loss_increases: Mapping[str, Mapping[float, float]]

    def to_json(self) -> str:
        """The text of a study's ``sensitivity.json``."""
        return json.dumps({_KEY: self.loss_increases}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Sensitivity:
        """Read a study's ``sensitivity.json``; that of earlier versions too.

        Args:
            path: of the file.

        Raises:
            UserError: the file is not what a search wrote.
        """
        try:
            content = read_json_file(path)
            increases = content[_FORMER_KEY if _FORMER_KEY in content else _KEY]
            return cls(
                {
                    _dimension(name): {float(bits): float(x) for bits, x in by_bits.items()}
                    for name, by_bits in increases.items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"'{path}' must be as a search wrote it, got {shown(error)}") from error


def _dimension(name: str) -> str:
    """The name of a layer and a field, if it is one."""
    if not name.endswith(tuple(f".{field}" for field in WEIGHT_FIELDS)):
        raise ValueError(name)
    return name
