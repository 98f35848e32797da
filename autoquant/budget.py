"""Budget: a cost and the largest value of it that a user accepts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoquant.errors import UserError, shown

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_WRITTEN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class _Measure:
    """How limits of some costs are written.

    Attributes:
        units: by their names; what one of them is in the unit of the cost.
        examples: for errors.
        whole: whether values are rounded down to whole numbers.
    """

    units: Mapping[str, float]
    examples: str
    whole: bool = True

    def unit(self, text: str) -> str | None:
        """The unit of a text in any case; None where there is no such unit."""
        return {unit.lower(): unit for unit in ("x", *self.units)}.get(text.lower())


_SIZE = _Measure({**UNITS, "bpw": 1 / 8}, "0.15x, 2.5MB, 1.5MiB or 4.5bpw")
_BYTES = _Measure(UNITS, "0.5x, 300kB or 1.5MiB")
_OPERATIONS = _Measure({"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}, "0.5x, 40M or 2G")
_SECONDS = _Measure({"us": 1e-6, "ms": 1e-3, "s": 1}, "0.5x, 800us or 2.5ms", whole=False)
_MEASURES = {
    "activation_memory": _BYTES,
    "peak_memory": _BYTES,
    "bit_ops": _OPERATIONS,
    "macs": _OPERATIONS,
    "latency": _SECONDS,
}


@dataclass(frozen=True)
class Budget:
    """A limit as it was written: ``0.15x``, ``2.5MB``, ``1.5MiB`` or ``4.5bpw``.

    Memories take the units of bytes, operations none, k, M, G or T (``40M``), a latency us, ms or
    s; all take ``x``, and the size alone ``bpw``.

    Attributes:
        amount: the number.
        unit: "x" (of the float model's cost), "bpw" (bits for each weight of the float model) or
            a unit of the cost.
        cost: name of the cost that it limits (see autoquant.costs).
    """

    amount: float
    unit: str
    cost: str = "size"

    @classmethod
    def parse(cls, text: str, cost: str = "size") -> Budget:
        """Read a limit of a cost.

        Args:
            text: a number and a unit, whose case does not matter.
            cost: name of the cost; one that is not built in takes the units of bytes.

        Raises:
            UserError: the text has another form, or the number is not above 0.

        >>> Budget.parse("0.25x").value(float_cost=4000, parameters=1000)
        1000
        >>> Budget.parse("2.5M", "bit_ops").value(float_cost=0, parameters=0)
        2500000
        """
        measure, name = _measure(cost), setting_of(cost)
        match = _WRITTEN.fullmatch(str(text))
        unit = measure.unit(match.group(2)) if match else None
        if match is None or unit is None:
            raise UserError(f"{name} must look like {measure.examples}, got {shown(str(text))}")
        amount = float(match.group(1))
        if not (amount > 0 and math.isfinite(amount)):
            raise UserError(f"{name} must be above 0, got {shown(str(text))}")
        return cls(amount, unit, cost)

    def value(self, *, float_cost: float, parameters: int) -> float:
        """The limit in the unit of its cost, rounded down; a latency is not rounded.

        Args:
            float_cost: the float model's cost, in the same unit; bytes of its tensors for a size.
            parameters: number of weights in the float model.
        """
        measure = _measure(self.cost)
        if self.unit == "x":
            value = self.amount * float_cost
        elif self.unit == "bpw":
            value = self.amount * parameters / 8
        else:
            value = self.amount * measure.units[self.unit]
        return int(value) if measure.whole else value

    def __str__(self) -> str:
        return f"{self.amount:.15g}{self.unit}"


def setting_of(cost: str) -> str:
    """The setting that limits a cost: "budget" for the size.

    Args:
        cost: its name.
    """
    return "budget" if cost == "size" else f"limits.{cost}"


def _measure(cost: str) -> _Measure:
    return _MEASURES.get(cost, _SIZE)


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
