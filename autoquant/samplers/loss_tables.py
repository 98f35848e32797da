"""LossTables: the estimated loss increase of every choice of every dimension of a space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.space.search_space import Point, SearchSpace

Floats = NDArray[np.float64]
Points = Point | Sequence[Point] | NDArray[np.intp]
"""A point, or several."""


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

    def features(self, points: Points) -> Floats:
        """The loss increase of each dimension at points, [..., dimensions].

        A layer whose units are w times as many has 1/w of the loss increase of its bits: each
        rounding error counts for less (Zhao et al. 2019, section 3, halves an outlier).

        Args:
            points: of the space, [..., dimensions].
        """
        indices = np.asarray(points, dtype=np.intp)
        values = [table[indices[..., i]] for i, table in enumerate(self.increases)]
        return np.stack(values, -1) / self.widths(indices)

    def widths(self, points: Points) -> Floats:
        """The width of the layer of each dimension, [..., dimensions].

        Args:
            points: of the space, [..., dimensions]; only their widths count.
        """
        indices, dimensions = np.asarray(points, dtype=np.intp), self.space.dimensions
        by_layer = {
            dimensions[i].layer: np.array(dimensions[i].choices, dtype=float)[indices[..., i]]
            for i in self.width_dimensions
        }
        same = np.ones(indices.shape[:-1])
        owners = (self.space.groups[dimension.layer] for dimension in dimensions)
        return np.stack([by_layer.get(owner, same) for owner in owners], -1)

    def log_widths(self, points: Points) -> Floats:
        """The logarithm to base 2 of each width, [..., widths].

        Args:
            points: of the space, [..., dimensions].
        """
        indices, dimensions = np.asarray(points, dtype=np.intp), self.space.dimensions
        tables = {
            i: np.array([np.log2(w) for w in dimensions[i].choices]) for i in self.width_dimensions
        }
        none = np.zeros((*indices.shape[:-1], 0))
        return np.stack([t[indices[..., i]] for i, t in tables.items()], -1) if tables else none

    @property
    def width_dimensions(self) -> tuple[int, ...]:
        """The dimensions of widths, by index."""
        dimensions = enumerate(self.space.dimensions)
        return tuple(i for i, dimension in dimensions if dimension.field == "width")
