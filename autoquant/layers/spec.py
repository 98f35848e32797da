"""What a layer is made of: which axis is output, which input, how it grows. Facts, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

AxisRole = Literal["out", "in", "hidden", "fixed"]
Role = Literal["weight", "recurrent", "bias"]


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter.

    Attributes:
        role: "out" follows the layer's own units, "in" the features of its input, "hidden" reads
            the layer's own units back (recurrent columns), "fixed" never changes.
        size: entries along the axis.
        copies: how many blocks of units stand behind one another (4 for an LSTM's gates).
    """

    role: AxisRole
    size: int
    copies: int = 1


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter's name inside its layer, its axes, and which of the plan's bits it takes."""

    name: str
    axes: tuple[Axis, ...]
    role: Role

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def resized(self, units: int, features: int) -> ParameterSpec:
        """The same parameter of a layer with other numbers of units and input features."""
        sizes = {"out": units, "hidden": units, "in": features}
        axes = (
            axis if axis.role == "fixed" else replace(axis, size=sizes[axis.role] * axis.copies)
            for axis in self.axes
        )
        return replace(self, axes=tuple(axes))


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a model.

    Attributes:
        name: where it is in the model (``model.get_submodule(name)``).
        kind: name of its layer kind.
        parameters: its parameters.
        units: output units of one direction.
        features: input features.
        directions: how many blocks of ``units`` the output has (2 when bidirectional).
        multiplies: whether its weights multiply its input (an embedding only looks up).
        recurrent: whether it has a hidden state that can be quantized.
        grown: whether it has more units than the model it comes from.
    """

    name: str
    kind: str
    parameters: tuple[ParameterSpec, ...]
    units: int
    features: int
    directions: int = 1
    multiplies: bool = True
    recurrent: bool = False
    grown: bool = False

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(parameter.count for parameter in self.parameters)

    @property
    def shape(self) -> str:
        """Input and output sizes for people: ``300 -> 2 x 450``."""
        out = f"{self.directions} x {self.units}" if self.directions > 1 else str(self.units)
        return f"{self.features} -> {out}"

    def resized(self, units: int, features: int) -> LayerSpec:
        """The same layer with other numbers of units and input features."""
        parameters = tuple(parameter.resized(units, features) for parameter in self.parameters)
        grown = self.grown or units != self.units
        return replace(self, parameters=parameters, units=units, features=features, grown=grown)

    def macs(self, positions: int = 1) -> int:
        """Multiply-accumulates of one call at ``positions`` output positions."""
        weights = (p.count for p in self.parameters if p.role != "bias")
        return positions * sum(weights) if self.multiplies else 0


def grown_units(units: int, width: float) -> int:
    """Units after growing by ``width``; growth is rounded to an even number.

    An even growth lets new units come in pairs that cancel each other.

    >>> grown_units(300, 1.25)
    376
    """
    return units + 2 * round(units * (width - 1) / 2)
