"""Units through reshapes, compared with numpy's reshape of every entry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.graph.tracing.shapes import Shape, along, joined, narrow, reshaped
from autoquant.graph.tracing.units import NONE, Ids


def spread(ids: Ids, shape: Shape) -> Ids:
    """Units at every entry of a value."""
    return np.broadcast_to(ids, shape)


FACTORS = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=5)


@st.composite
def views(draw: st.DrawFn) -> tuple[Shape, Shape, Ids]:
    """Two shapes of as many entries, and units along some axes of the first."""
    factors = draw(FACTORS)
    old, new = _shape(draw, factors), _shape(draw, factors)
    axes = [draw(st.booleans()) for _ in old]
    sizes = tuple(size if varies else 1 for size, varies in zip(old, axes, strict=True))
    numbers = st.integers(NONE, 3)
    count = math.prod(sizes)
    entries = draw(st.lists(numbers, min_size=count, max_size=count))
    return old, new, np.array(entries, dtype=np.int64).reshape(sizes)


def _shape(draw: st.DrawFn, factors: list[int]) -> Shape:
    """Factors multiplied into axes, with axes of size 1 between them."""
    shape, size = [], 1
    for factor in factors:
        size *= factor
        if draw(st.booleans()):
            shape.append(size)
            size = 1
    if size > 1 or not shape:
        shape.append(size)
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


@given(views())
def test_reshaped_is_numpys_reshape(given: tuple[Shape, Shape, Ids]) -> None:
    old, new, ids = given
    result = reshaped(ids, old, new)
    assert result.ndim == len(new)
    np.testing.assert_array_equal(spread(result, new), spread(ids, old).reshape(new))


@given(views())
def test_narrow_keeps_every_entry(given: tuple[Shape, Shape, Ids]) -> None:
    shape, _, ids = given
    small = narrow(spread(ids, shape))
    np.testing.assert_array_equal(spread(small, shape), spread(ids, shape))
    for axis, size in enumerate(small.shape):
        assert size == 1 or (small != small.take([0], axis)).any()


@pytest.mark.parametrize(
    ("old", "new"),
    [((2, 1, 3), (6,)), ((6,), (1, 6, 1)), ((), (1,)), ((1,), ()), ((1, 1), (1,)), ((4,), (2, 2))],
    ids=str,
)
def test_reshaped_with_axes_of_size_one(old: Shape, new: Shape) -> None:
    ids = np.arange(math.prod(old)).reshape(old)
    np.testing.assert_array_equal(spread(reshaped(ids, old, new), new), ids.reshape(new))


@pytest.mark.parametrize(("old", "new"), [((0, 3), (3, 0)), ((2, 0, 3), (0,))], ids=str)
def test_nothing_has_no_units(old: Shape, new: Shape) -> None:
    assert (reshaped(np.full((1,) * len(old), 5), old, new) == NONE).all()


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), min_size=1), st.data())
def test_joined_is_numpys_concatenate(
    parts: list[tuple[int, bool, bool]], data: st.DataObject
) -> None:
    """Values with units along the joined axis, along another one, along both, or without units."""
    shapes = [(3, size, 2) for size, _, _ in parts]
    axes = [(3 if other else 1, size if own else 1, 1) for size, own, other in parts]
    counter = iter(range(1000))
    given = [np.array([next(counter) for _ in range(math.prod(s))]).reshape(s) for s in axes]
    known = [data.draw(st.booleans()) for _ in parts]
    ids = [each if some else None for each, some in zip(given, known, strict=True)]
    if not any(known):
        return
    whole = [
        np.full(shape, NONE) if each is None else spread(each, shape)
        for each, shape in zip(ids, shapes, strict=True)
    ]
    result = joined(ids, shapes, 1)
    expected = np.concatenate(whole, 1)
    np.testing.assert_array_equal(spread(result, expected.shape), expected)


def test_along_flattens_axes_behind_the_others() -> None:
    ids = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(along(ids, [0, -1]), ids.transpose(1, 0, 2).reshape(3, 8))
    np.testing.assert_array_equal(along(ids, [1]), ids.transpose(0, 2, 1).reshape(8, 3))
