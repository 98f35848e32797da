"""Sensitivity: how much the loss increases when one weight, input or hidden state has few bits.

The increases of several layers approximately add up, so they tell where bits are best spent before
anything is trained (HAWQ-V2, Dong et al. 2020, section 3, uses curvatures for that).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoquant.errors import UserError, shown
from autoquant.plan import BITS_FIELDS, Plan
from autoquant.reading import read_json_file

_KEY, _FORMER_KEY = "loss_increases", "rises"  # of the JSON object; studies hold both

ByChoice = Mapping[str, Mapping[float, float]]
"""A number for each dimension, by its name ("rnn.l0.weight_bits"), and each of its choices."""


@dataclass(frozen=True)
class Sensitivity:
    """The loss increase of each dimension of bits, for each of its choices.

    Attributes:
        loss_increases: choices in rising order, and for each the training loss minus the loss where
            this dimension alone is in float, in the loss's unit. At least 0, never larger with more
            bits.
        deviations: the standard errors of the increases, in the loss's unit; empty for files of
            earlier versions, which did not measure any.
        reference: the plan of the network in which it was measured; None for files of earlier
            versions, where all other layers were in float.
    """

    loss_increases: ByChoice
    deviations: ByChoice = field(default_factory=dict)
    reference: Plan | None = None

    def to_json(self) -> str:
        """The text of a study's ``sensitivity.json``."""
        content: dict[str, Any] = {_KEY: self.loss_increases, "deviations": self.deviations}
        if self.reference is not None:
            content["reference"] = self.reference.to_dict()
        return json.dumps(content, indent=2) + "\n"

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
            increases = _by_choice(content[_FORMER_KEY if _FORMER_KEY in content else _KEY])
            deviations = _by_choice(content.get("deviations", {}))
            if deviations and _choices(deviations) != _choices(increases):
                raise ValueError("deviations of other dimensions than loss_increases")
            reference = content.get("reference")
            plan = None if reference is None else Plan.from_dict(reference)
            return cls(increases, deviations, plan)
        except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            raise UserError(f"'{path}' must be as a search wrote it, got {shown(error)}") from error


def _by_choice(values: Any) -> ByChoice:
    """Numbers by dimension and choice, as JSON has them."""
    return {
        _dimension(name): {float(choice): float(x) for choice, x in by_choice.items()}
        for name, by_choice in values.items()
    }


def _choices(values: ByChoice) -> dict[str, list[float]]:
    return {name: list(by_choice) for name, by_choice in values.items()}


def _dimension(name: str) -> str:
    """The name of a layer and a field, if it is one."""
    if not name.endswith(tuple(f".{field}" for field in BITS_FIELDS)):
        raise ValueError(name)
    return name
