"""LossTables: the estimated loss increase of every choice of every dimension of a space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.space.search_space import Point, SearchSpace

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossTables:
    """Loss increases by dimension and choice, before anything is trained.

    Attributes:
        space: of the dimensions.
        increases: for each dimension those of its choices, [choices]; zeros for widths.
        deviations: their standard errors, in the same form.
    """

    space: SearchSpace
    increases: tuple[Floats, ...]
    deviations: tuple[Floats, ...]

    @classmethod
    def of(cls, space: SearchSpace, sensitivity: Sensitivity | None) -> LossTables:
        """The tables of a measured sensitivity.

        Args:
            space: of the search.
            sensitivity: where it is None, each bit less of any layer counts alike: the increase of
                b bits is 4^-b, and the proposals have bits that are as even as possible.
        """
        increases, deviations = [], []
        for dimension in space.dimensions:
            if dimension.field == "width":
                values = errors = np.zeros(len(dimension.choices))
            elif sensitivity is None or dimension.name not in sensitivity.loss_increases:
                values = np.array([4.0**-bits for bits in dimension.choices])
                errors = values / 2
            else:
                by_choice = sensitivity.loss_increases[dimension.name]
                spread = sensitivity.deviations.get(dimension.name, {})
                values = np.array([by_choice[choice] for choice in dimension.choices])
                errors = np.array([spread.get(choice, 0.0) for choice in dimension.choices])
            increases.append(values)
            deviations.append(errors)
        return cls(space, tuple(increases), tuple(deviations))

    def features(self, point: Point) -> Floats:
        """The loss increase of each dimension at a point, [dimensions].

        A layer whose units are w times as many has 1/w of the loss increase of its bits: each
        rounding error counts for less (Zhao et al. 2019, section 3, halves an outlier).

        Args:
            point: of the space.
        """
        values = [table[choice] for table, choice in zip(self.increases, point, strict=True)]
        return np.array(values) / self.widths(point)

    def widths(self, point: Sequence[int]) -> Floats:
        """The width of the layer of each dimension, [dimensions].

        Args:
            point: of the space; only its widths count.
        """
        by_layer = {
            dimension.layer: dimension.choices[choice]
            for dimension, choice in zip(self.space.dimensions, point, strict=True)
            if dimension.field == "width"
        }
        owners = (self.space.groups[dimension.layer] for dimension in self.space.dimensions)
        return np.array([by_layer.get(owner, 1.0) for owner in owners])

    @property
    def width_dimensions(self) -> tuple[int, ...]:
        """The dimensions of widths, by index."""
        dimensions = enumerate(self.space.dimensions)
        return tuple(i for i, dimension in dimensions if dimension.field == "width")
