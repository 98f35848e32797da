"""What a layer is made of: which axis is output, which input, how it grows. Facts, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

AxisRole = Literal["out", "in", "apart", "hidden", "fixed"]
Role = Literal["weight", "recurrent", "bias", "norm"]


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter.

    Attributes:
        role: "out" follows the layer's own units, "in" the features of its input, "apart" those of
            an input whose channels are read in groups, "hidden" reads the layer's own units back
            (recurrent columns), "fixed" never changes.
        size: entries along the axis.
        copies: how many blocks of units stand behind one another (4 for an LSTM's gates).
    """

    role: AxisRole
    size: int
    copies: int = 1


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter's name inside its layer, its axes, and which of the plan's bits it takes.

    Attributes:
        role: "weight" and "recurrent" take a plan's bits, "bias" those of biases; "norm" is kept in
            32 bits.
        shared: full name of the parameter that this one is, where layers share a weight.
    """

    name: str
    axes: tuple[Axis, ...]
    role: Role
    shared: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it multiplies what it reads, and takes its bits from a plan."""
        return self.role in ("weight", "recurrent")

    def resized(self, units: int, features: int) -> ParameterSpec:
        """The same parameter of a layer with other numbers of units and input features."""
        sizes = {"out": units, "hidden": units, "in": features, "apart": features}
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
        follows: whether its units are those of its input (a norm): it has no width of its own.
        blocks: how many groups of channels it treats apart (of a grouped convolution, say).
        original: units and features in the model it comes from, where they were others.
    """

    name: str
    kind: str
    parameters: tuple[ParameterSpec, ...]
    units: int
    features: int
    directions: int = 1
    multiplies: bool = True
    recurrent: bool = False
    follows: bool = False
    blocks: int = 1
    original: tuple[int, int] | None = None

    @property
    def grown(self) -> bool:
        """Whether it has more units than in the model it comes from."""
        return self.original is not None and self.original[0] != self.units

    @property
    def count(self) -> int:
        """Number of parameters; one that belongs to another layer too is counted there."""
        return sum(parameter.count for parameter in self.parameters if not parameter.shared)

    @property
    def shape(self) -> str:
        """Input and output sizes for people: ``300 -> 2 x 450``."""
        out = f"{self.directions} x {self.units}" if self.directions > 1 else str(self.units)
        return f"{self.features} -> {out}"

    def full_name(self, tensor: str) -> str:
        """The name in the whole model of one of the layer's tensors."""
        return f"{self.name}.{tensor}" if self.name else tensor

    def resized(self, units: int, features: int) -> LayerSpec:
        """The same layer with other numbers of units and input features."""
        parameters = tuple(parameter.resized(units, features) for parameter in self.parameters)
        blocks = units * self.blocks // self.units if self.blocks > 1 or self.follows else 1
        before = self.original or (self.units, self.features)
        original = before if before != (units, features) else None
        return replace(
            self,
            parameters=parameters,
            units=units,
            features=features,
            blocks=blocks,
            original=original,
        )

    def macs(self, positions: int = 1) -> int:
        """Multiply-accumulates of one call at ``positions`` output positions."""
        weights = (p.count for p in self.parameters if p.is_weight)
        return positions * sum(weights) if self.multiplies else 0


def weight_and_bias(axes: tuple[Axis, ...], units: int, *, bias: bool) -> tuple[ParameterSpec, ...]:
    """The parameters of a layer that has a weight and perhaps a bias [units]."""
    weight = ParameterSpec("weight", axes, "weight")
    return (weight, ParameterSpec("bias", (Axis("out", units),), "bias")) if bias else (weight,)


def grown_units(units: int, width: float) -> int:
    """Units after growing by ``width``; growth is rounded to an even number.

    An even growth lets new units come in pairs that cancel each other.

    >>> grown_units(300, 1.25)
    376
    """
    return units + 2 * round(units * (width - 1) / 2)
