"""A layer's parameters and what each of their axes holds: values only, no tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

AxisRole = Literal["out", "in", "grouped", "hidden", "fixed"]
Role = Literal["weight", "recurrent", "bias", "norm"]
NewUnits = Literal["copies", "mean", "zeros"]
"""What new units hold: what an old one does, the mean of all old ones, or zeros."""


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter.

    Attributes:
        role: "out" has an entry for each unit of the layer, "in" one for each feature of its input,
            "grouped" one for each feature of an input that is read in groups of channels, "hidden"
            one for each of the layer's own units, which it reads back (recurrent columns). "fixed"
            never changes.
        size: entries along the axis.
        copies: how many blocks of units follow one another (4 for an LSTM's gates).
    """

    role: AxisRole
    size: int
    copies: int = 1


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter of a layer.

    Attributes:
        name: inside the layer.
        axes: of the parameter, in order.
        role: "weight" and "recurrent" take a plan's bits, "bias" those of biases; "norm" is kept in
            32 bits.
        shared: full name of the same parameter in an earlier layer, where layers share a weight;
            else empty.
    """

    name: str
    axes: tuple[Axis, ...]
    role: Role
    shared: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(axis.size for axis in self.axes)

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it multiplies what it reads, and takes its bits from a plan."""
        return self.role in ("weight", "recurrent")

    def resized(self, units: int, features: int) -> ParameterSpec:
        """The same parameter of a layer of another size.

        Args:
            units: output units of one direction.
            features: input features.
        """
        sizes = {"out": units, "hidden": units, "in": features, "grouped": features}
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
        parameters: all that it has.
        units: output units of one direction.
        features: input features.
        directions: how many blocks of ``units`` the output has (2 when bidirectional).
        multiplies: whether its weights multiply its input (an embedding only looks up).
        recurrent: whether it has a hidden state that can be quantized.
        follows: whether its units are those of its input (a norm): it has no width of its own.
        blocks: number of groups of channels, as of a grouped convolution.
        original: units and features before growing, where they differed; else None.
        eps: of a norm, what it adds to the variance; None where a layer has none.
        new_units: of a norm over all of its units, what units that are added to its input must
            hold, so that only its gain (its first parameter) and eps change; of others "copies".
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
    eps: float | None = None
    new_units: NewUnits = "copies"

    @property
    def grown(self) -> bool:
        """Whether it has more units than before growing."""
        return self.original is not None and self.original[0] != self.units

    @property
    def count(self) -> int:
        """Number of values of all parameters; a shared one is counted in its other layer."""
        return sum(parameter.count for parameter in self.parameters if not parameter.shared)

    @property
    def shape(self) -> str:
        """Input and output sizes as text: ``300 -> 2 x 450``."""
        out = f"{self.directions} x {self.units}" if self.directions > 1 else str(self.units)
        return f"{self.features} -> {out}"

    def full_name(self, tensor: str) -> str:
        """The name in the whole model of one of the layer's tensors.

        Args:
            tensor: its name in the layer.
        """
        return f"{self.name}.{tensor}" if self.name else tensor

    def resized(self, units: int, features: int) -> LayerSpec:
        """The same layer of another size.

        Args:
            units: output units of one direction.
            features: input features.
        """
        parameters = tuple(parameter.resized(units, features) for parameter in self.parameters)
        over_all = self.new_units != "copies"
        in_blocks = self.blocks > 1 or (self.follows and not over_all)
        blocks = units * self.blocks // self.units if in_blocks else 1
        # the mean square of all units falls as their number rises
        eps = self.eps * self.units / units if over_all and self.eps is not None else self.eps
        before = self.original or (self.units, self.features)
        original = before if before != (units, features) else None
        return replace(
            self,
            parameters=parameters,
            units=units,
            features=features,
            blocks=blocks,
            original=original,
            eps=eps,
        )

    def macs(self, positions: int = 1) -> int:
        """Multiply-accumulates of one call.

        Args:
            positions: output positions: time steps, pixels, and all of these of a batch.
        """
        weights = (p.count for p in self.parameters if p.is_weight)
        return positions * sum(weights) if self.multiplies else 0


def weight_and_bias(axes: tuple[Axis, ...], units: int, *, bias: bool) -> tuple[ParameterSpec, ...]:
    """The parameters of a layer with a weight and perhaps a bias.

    Args:
        axes: of the weight.
        units: size of the bias.
        bias: whether there is one.
    """
    weight = ParameterSpec("weight", axes, "weight")
    return (weight, ParameterSpec("bias", (Axis("out", units),), "bias")) if bias else (weight,)


def grown_units(units: int, width: float) -> int:
    """Units after growing; their number grows by an even number.

    With an even number, new units can be pairs whose contributions cancel each other.

    >>> grown_units(300, 1.25)
    376

    Args:
        units: before growing.
        width: neuron multiplier, 1 or more.
    """
    return units + 2 * round(units * (width - 1) / 2)
