"""Loss increases of points, one or many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.samplers.loss_tables import LossTables
from tests.samplers.spaces import SPACE as SMALL
from tests.samplers.test_program_sampler import SENSITIVITY, SPACE

POINTS = st.tuples(*(st.integers(0, len(d.choices) - 1) for d in SMALL.dimensions))
TABLES = LossTables.of(SMALL, None)


def by_hand(point: tuple[int, ...]) -> list[float]:
    """The features of a point, one dimension after the other."""
    chosen = {d.name: d.choices[i] for d, i in zip(SMALL.dimensions, point, strict=True)}
    return [
        float(table[i]) / chosen.get(f"{d.layer}.width", 1.0)
        for d, table, i in zip(SMALL.dimensions, TABLES.increases, point, strict=True)
    ]


@given(st.lists(POINTS, min_size=1, max_size=6))
def test_features_of_many_points_are_those_of_each(points: list[tuple[int, ...]]) -> None:
    expected = np.array([by_hand(point) for point in points])
    assert np.array_equal(TABLES.features(points), expected)
    for point, row in zip(points, expected, strict=True):
        assert np.array_equal(TABLES.features(point), row)


@given(st.lists(POINTS, min_size=1, max_size=6))
def test_logarithms_of_widths(points: list[tuple[int, ...]]) -> None:
    index = [d.name for d in SMALL.dimensions].index("a.width")
    widths = [SMALL.dimensions[index].choices[point[index]] for point in points]
    assert TABLES.log_widths(points) == pytest.approx(np.log2(widths)[:, None])
    assert TABLES.log_widths(points[0]).shape == (1,)


def test_a_wider_layer_loses_less() -> None:
    tables = LossTables.of(SPACE, SENSITIVITY)
    names = [d.name for d in SPACE.dimensions]
    wide = [0] * len(names)
    wide[names.index("rnn.l0.width")] = 1
    plain, grown = tables.features((0,) * len(names)), tables.features(tuple(wide))
    of_rnn = [name.startswith("rnn.l0") for name in names]
    assert grown[of_rnn] == pytest.approx(plain[of_rnn] / 1.5)
    assert grown[np.logical_not(of_rnn)] == pytest.approx(plain[np.logical_not(of_rnn)])
