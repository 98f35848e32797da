"""Budget: a cost and the largest value of it that a user accepts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from autoquant.errors import UserError, shown

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS = {unit.lower(): factor for unit, factor in UNITS.items()}
_WRITTEN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """A limit as it was written: ``0.15x``, ``2.5MB``, ``1.5MiB`` or ``4.5bpw``.

    Attributes:
        amount: the number.
        unit: "x" (of the float model's cost), "bpw" (bits for each weight of the float model) or
            a unit of bytes.
        cost: name of the cost that it limits (see autoquant.costs).
    """

    amount: float
    unit: str
    cost: str = "size"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget of bytes.

        Args:
            text: a number and a unit, whose case does not matter.

        Raises:
            UserError: the text has another form, or the number is not above 0.

        >>> Budget.parse("0.25x").value(float_cost=4000, parameters=1000)
        1000
        """
        match = _WRITTEN.fullmatch(str(text))
        unit = match.group(2).lower() if match else ""
        if match is None or unit not in {"x", "bpw", *_UNITS}:
            raise UserError(
                f"budget must look like 0.15x, 2.5MB, 1.5MiB or 4.5bpw, got {shown(str(text))}"
            )
        amount = float(match.group(1))
        if not (amount > 0 and math.isfinite(amount)):
            raise UserError(f"budget must be above 0, got {shown(str(text))}")
        written = {name.lower(): name for name in UNITS}
        return cls(amount, written.get(unit, unit))

    def value(self, *, float_cost: float, parameters: int) -> int:
        """The budget in the unit of its cost, rounded down.

        Args:
            float_cost: the float model's cost, in the same unit; bytes of its tensors for a size.
            parameters: number of weights in the float model.
        """
        if self.unit == "x":
            return int(self.amount * float_cost)
        if self.unit == "bpw":
            return int(self.amount * parameters / 8)
        return int(self.amount * UNITS[self.unit])

    def __str__(self) -> str:
        return f"{self.amount:.15g}{self.unit}"


def readable(size: float) -> str:
    """A number of bytes for people: ``1.23 MB``.

    >>> readable(1_234_567)
    '1.23 MB'
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size) >= factor:
            return (
                f"{size / factor:.3g} {unit}"
                if size / factor < 100
                else f"{size / factor:.0f} {unit}"
            )
    return f"{size:.0f} B"
