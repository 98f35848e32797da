"""Parameters as an export gets them: codes with scales, or float values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoquant.artifact.load_layers import StoredLayer
from autoquant.layers import ParameterSpec
from autoquant.plan import TERNARY, Bits
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid
from autoquant.quantization.formats import Codes

Floats = NDArray[np.float32]
UNCLIPPED = Grid(-(1 << 22), 1 << 22, 0.0)
"""The grid of an activation that is rounded and not clipped, as in Bit-RNN."""


@dataclass(frozen=True, eq=False)
class CodedWeight:
    """A weight whose values are ``scale * (code + offset)``.

    Attributes:
        codes: int8, in the parameter's shape.
        scale: float32, of each row [rows], or of all [1].
        grid: the codes.
        bits: of a code in the packed file: 1 to 8, or 1.6.
    """

    codes: NDArray[np.int8]
    scale: Floats
    grid: Grid
    bits: Bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.codes.shape

    @property
    def rows_scale(self) -> Floats:
        """The scale of each row, [rows]."""
        return np.ascontiguousarray(np.broadcast_to(self.scale, self.codes.shape[:1]))

    def values(self) -> Floats:
        """The float32 values that the codes stand for."""
        scale = self.rows_scale.reshape(-1, *[1] * (self.codes.ndim - 1))
        return (self.codes.astype(np.float32) + np.float32(self.grid.offset)) * scale


@dataclass(frozen=True, eq=False)
class FloatWeight:
    """A weight without codes.

    Attributes:
        array: float32, in the parameter's shape.
        bits: of a value in the packed file: 16 or 32.
    """

    array: Floats
    bits: Bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.array.shape

    def values(self) -> Floats:
        """The values."""
        return self.array


Weight = CodedWeight | FloatWeight


@dataclass(frozen=True)
class Activation:
    """How a layer rounds its input or its hidden state.

    Attributes:
        bits: 1 to 8: codes; 16: half precision.
        scale: of the codes; 1 in half precision.
        grid: the codes; values beyond it are clipped. [0, 0] in half precision. UNCLIPPED, which no
            value leaves, where the scheme does not clip.
    """

    bits: int
    scale: float
    grid: Grid

    @property
    def coded(self) -> bool:
        """Whether its values are codes of eight bits."""
        return self.bits <= 8 and self.grid != UNCLIPPED

    @classmethod
    def of(cls, quantizer: ActivationQuantizer | None) -> Activation | None:
        """What a quantizer does; None where there is none.

        Args:
            quantizer: with its trained scale.
        """
        if quantizer is None:
            return None
        if quantizer.bits > 8:
            return cls(quantizer.bits, 1.0, Grid(0, 0, 0.0))
        spec = quantizer.spec()
        grid = quantizer.grid if spec is None or spec.clip else UNCLIPPED
        return cls(quantizer.bits, float(quantizer.scale().detach()), grid)


def weight_of(stored: StoredLayer, parameter: ParameterSpec) -> Weight:
    """A parameter of a packed file.

    Args:
        stored: the layer.
        parameter: of the layer.
    """
    loaded = stored.parameter(parameter)
    bits = stored.scheme.bits_of(parameter.role, stored.choice)
    if not isinstance(loaded, Codes):
        return FloatWeight(_array(loaded), bits)
    if bits != TERNARY:  # a format of a user's may have more codes than its bits say
        bits = loaded.bits
    count = loaded.codes.shape[0]
    scale = _array(loaded.scale).reshape(-1)
    if scale.size not in (1, count):
        return FloatWeight(_array(loaded.values()), 32)
    return CodedWeight(loaded.codes.numpy(), scale, loaded.grid, bits)


def _array(values: torch.Tensor) -> Any:
    return np.ascontiguousarray(values.detach().float().numpy())
