from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.exports.c.code_rows import PADDING, packed_rows, reader
from autoquant.plan import Bits
from autoquant.quantization.bitpacking import packed_bytes, unpack
from autoquant.quantization.codes import Grid
from tests.runtime.pairs import CHOSEN_BITS


@given(
    st.sampled_from(CHOSEN_BITS), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1)
)
def test_rows_are_packed(bits: Bits, rows: int, columns: int, seed: int) -> None:
    grid = Grid.signed(bits)
    random = np.random.default_rng(seed)
    codes = random.integers(grid.qmin, grid.qmax + 1, (rows, columns)).astype(np.int8)
    packed, row_bytes = packed_rows(codes, grid.qmin, bits)
    assert row_bytes == packed_bytes(columns, bits)
    assert packed.size == rows * row_bytes + PADDING
    for row in range(rows):
        one = unpack(packed[row * row_bytes : (row + 1) * row_bytes], bits, columns)
        assert np.array_equal(one.astype(np.int16) + grid.qmin, codes[row])


def test_thirds() -> None:
    """The C text divides by three with a product and a shift."""
    assert all(x * 171 >> 9 == x // 3 for x in range(243))


@pytest.mark.parametrize("name", ["dot", "unpack", "dot_9_int8", "dot_4", "unpack_4_int8"])
def test_other_names(name: str) -> None:
    assert reader(name) is None
