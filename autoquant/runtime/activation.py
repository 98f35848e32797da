"""How an activation is quantized, as operators and kernels take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from autoquant.kernels.integer_linear import MAX_COLUMNS
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, QuantParams
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.settings import Scheme

_UNCHANGED = 0
"""In place of the bits of an activation that has no quantizer."""


class ActivationCodes(NamedTuple):
    """How the values of an activation become codes, as an operator takes it.

    Attributes:
        log_scale: natural logarithm of the scale, a scalar.
        grid: the codes; values beyond it are clipped.
    """

    log_scale: Tensor
    grid: Grid

    @classmethod
    def of(cls, log_scale: Tensor, bounds: Sequence[int]) -> ActivationCodes:
        """From an operator's arguments.

        Args:
            log_scale: as in the attributes.
            bounds: the smallest and the largest code.
        """
        qmin, qmax = bounds
        return cls(log_scale, Grid(qmin, qmax, 0.0))

    @property
    def bounds(self) -> list[int]:
        """The smallest and the largest code."""
        return [self.grid.qmin, self.grid.qmax]

    def params(self) -> QuantParams:
        """The scale and the grid."""
        return QuantParams(self.log_scale.detach().exp(), self.grid)

    def quantize(self, values: Tensor) -> Tensor:
        """Fake-quantize.

        Args:
            values: of any shape.
        """
        params = self.params()
        return fake_quantize(values, params.scale, params.grid)


class Activation(NamedTuple):
    """An activation of any number of bits.

    Attributes:
        log_scale: natural logarithm of the scale, a scalar; None where there are no codes.
        numbers: bits, the smallest code, and whether codes are clipped to the grid.
    """

    log_scale: Tensor | None
    numbers: tuple[int, int, int]

    @classmethod
    def of(cls, quantizer: ActivationQuantizer | None) -> Activation:
        """How a quantizer that no longer observes quantizes.

        Args:
            quantizer: of the activation, or None.
        """
        if quantizer is None or quantizer.bits > 8:
            return cls(None, (_UNCHANGED if quantizer is None else quantizer.bits, 0, 1))
        numbers = quantizer.bits, quantizer.grid.qmin, int(quantizer.scheme.activation_clip)
        return cls(quantizer.log_scale, numbers)

    def codes(self, columns: int) -> ActivationCodes | None:
        """The codes of the activation, where they can be multiplied with those of a weight.

        Args:
            columns: of the weight.

        Returns:
            None where the activation has no codes that the kernels can use.
        """
        bits, qmin, clip = self.numbers
        if self.log_scale is None or not clip or columns >= MAX_COLUMNS:
            return None
        grid = Grid.signed(bits, "midtread") if qmin else Grid.unsigned(bits)
        return ActivationCodes(self.log_scale, grid)

    def quantizer(self) -> ActivationQuantizer | None:
        """A quantizer that does the same; None where values stay as they are."""
        bits, qmin, clip = self.numbers
        if bits == _UNCHANGED:
            return None
        quantizer = ActivationQuantizer(bits, Scheme(activation_clip=bool(clip)))
        if self.log_scale is not None:
            quantizer.requires_grad_(False).restore(float(self.log_scale), qmin)
        return quantizer
