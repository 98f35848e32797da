"""An activation whose values become integer codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from autoquant.quantization.codes import Grid, QuantParams
from autoquant.quantization.fake_quantize import fake_quantize


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
