from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.exports.onnx.levels import bits_in_onnx, levels_of, packed
from autoquant.exports.onnx.products import BLOCKS, SPLIT_ABOVE, split_columns
from autoquant.exports.weights import CodedWeight
from autoquant.plan import Bits
from autoquant.quantization.codes import Grid

BITS = (1, 1.6, 2, 3, 4, 5, 6, 7, 8)


def weight(bits: Bits, kind: str, rows: int = 5, columns: int = 24) -> CodedWeight:
    grid, rng = Grid.signed(bits, kind), np.random.default_rng(0)
    codes = rng.integers(grid.qmin, grid.qmax + 1, (rows, columns)).astype(np.int8)
    return CodedWeight(codes, rng.random(rows).astype(np.float32) + 0.1, grid, bits)


@pytest.mark.parametrize("least", [2, 4])
@pytest.mark.parametrize("kind", ["midrise", "midtread"])
@pytest.mark.parametrize("bits", BITS)
def test_levels_are_exact(bits: Bits, kind: str, least: int) -> None:
    coded = weight(bits, kind)
    levels = levels_of(coded, least)
    assert np.array_equal(levels.values(), coded.values())
    assert levels.bits == bits_in_onnx(bits, coded.grid.offset, least)


@pytest.mark.parametrize(
    ("bits", "kind", "stored"),
    [(2, "midrise", 4), (3, "midrise", 4), (4, "midtread", 4), (4, "midrise", 8), (5, "auto", 8)],
)
def test_bits_of_the_integers(bits: Bits, kind: str, stored: int) -> None:
    assert levels_of(weight(bits, kind)).bits == stored


def test_midrise_of_two_bits_in_two_needs_a_shift() -> None:
    levels = levels_of(weight(2, "midrise"), least=2)
    assert (levels.bits, levels.shift) == (2, 0.5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_has_the_first_integer_lowest(bits: int) -> None:
    half = 1 << bits - 1
    integers = np.arange(-half, half, dtype=np.int16)[:8].astype(np.int8)
    stored = packed(integers, bits)
    unpacked = [
        (int(byte) >> i & (1 << bits) - 1) - half for byte in stored for i in range(0, 8, bits)
    ]
    assert unpacked == [*map(int, integers)]


@given(columns=st.integers(1, 3000), bits=st.sampled_from([2, 4, 8]))
def test_columns_are_split_without_gaps(columns: int, bits: int) -> None:
    parts = split_columns(columns, bits)
    assert [first for first, _, _ in parts] == [0, *(end for _, end, _ in parts[:-1])]
    assert parts[-1][1] == columns
    assert {block for _, _, block in parts} <= {*BLOCKS}
    if columns >= 256:
        padding = sum(-(end - first) % block for first, end, block in parts)
        assert padding <= SPLIT_ABOVE * columns
