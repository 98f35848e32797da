"""Budget: the largest packed file a user accepts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from autoquant.errors import UserError

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS = {unit.lower(): factor for unit, factor in UNITS.items()}
_WRITTEN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """A size as it was written: ``0.15x``, ``2.5MB``, ``1.5MiB`` or ``4.5bpw``.

    Attributes:
        amount: the number.
        unit: "x" (of the float model's tensors), "bpw" (bits for each weight of the float model) or
            a unit of bytes.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget; the unit's case does not matter.

        >>> Budget.parse("0.25x").bytes(float_bytes=4000, parameters=1000)
        1000
        """
        match = _WRITTEN.fullmatch(str(text))
        unit = match.group(2).lower() if match else ""
        if match is None or unit not in {"x", "bpw", *_UNITS}:
            raise UserError(
                f"budget must look like 0.15x, 2.5MB, 1.5MiB or 4.5bpw, got {str(text)!r}"
            )
        amount = float(match.group(1))
        if not (amount > 0 and math.isfinite(amount)):
            raise UserError(f"budget must be above 0, got {str(text)!r}")
        written = {name.lower(): name for name in UNITS}
        return cls(amount, written.get(unit, unit))

    def bytes(self, *, float_bytes: int, parameters: int) -> int:
        """The budget in bytes, rounded down.

        Args:
            float_bytes: bytes of the float model's tensors.
            parameters: number of weights in the float model.
        """
        if self.unit == "x":
            return int(self.amount * float_bytes)
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
