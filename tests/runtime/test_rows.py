"""Codes packed row by row: nothing is lost, every row ends on a whole byte."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoquant.quantization.bitpacking import pack, packed_bytes
from autoquant.runtime import rows
from autoquant.runtime.rows import pack_rows, unpack_rows


def codes_of(count: int, columns: int, bits: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1 << bits, (count, columns), generator=generator, dtype=torch.uint8)


SHAPES = {"count": st.integers(1, 9), "columns": st.integers(1, 70), "bits": st.integers(1, 8)}


@given(**SHAPES, seed=st.integers(0, 99))
def test_round_trip(count: int, columns: int, bits: int, seed: int) -> None:
    codes = codes_of(count, columns, bits, seed)
    packed = pack_rows(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (count, packed_bytes(columns, bits))
    assert torch.equal(unpack_rows(packed, bits, columns), codes)


@given(**SHAPES, seed=st.integers(0, 99))
def test_each_row_is_packed_as_in_a_file(count: int, columns: int, bits: int, seed: int) -> None:
    codes = codes_of(count, columns, bits, seed)
    by_row = [torch.from_numpy(pack(row.numpy(), bits)) for row in codes]
    assert torch.equal(pack_rows(codes, bits), torch.stack(by_row))


@pytest.mark.parametrize(
    ("bits", "codes", "expected"),
    [
        (1, [1, 0, 0, 0, 0, 0, 0, 1, 1], [0b10000001, 1]),
        (3, [1, 2, 7], [0b11010001, 0b1]),
        (4, [1, 15, 2], [0xF1, 0x02]),
        (5, [31, 1], [0b00111111, 0]),
        (8, [255, 7], [255, 7]),
    ],
)
def test_by_hand(bits: int, codes: list[int], expected: list[int]) -> None:
    """Least significant bits first, zeros at the end."""
    packed = pack_rows(torch.tensor([codes], dtype=torch.uint8), bits)
    assert packed.tolist() == [expected]


@pytest.mark.parametrize("bits", range(1, 9))
def test_all_ones_and_all_zeros(bits: int) -> None:
    for value in (0, (1 << bits) - 1):
        codes = torch.full((2, 11), value, dtype=torch.uint8)
        assert torch.equal(unpack_rows(pack_rows(codes, bits), bits, 11), codes)


def test_rows_of_any_shape_are_unpacked() -> None:
    """As an embedding looks them up: [...] rows."""
    codes = codes_of(6, 11, 5)
    packed = pack_rows(codes, 5)
    some = torch.tensor([[[0, 5], [3, 3]]])
    assert torch.equal(unpack_rows(packed[some], 5, 11), codes[some])
    assert unpack_rows(packed[:0], 5, 11).shape == (0, 11)


def test_codes_that_are_not_contiguous() -> None:
    codes = codes_of(11, 6, 5)
    assert torch.equal(pack_rows(codes.t(), 5), pack_rows(codes.t().contiguous(), 5))
    packed = pack_rows(codes, 5)
    wide = torch.stack([packed, packed], 2).flatten(1)[:, ::2]
    assert torch.equal(unpack_rows(wide, 5, 6), codes)


@pytest.mark.parametrize("workspace", [1, 100, 1000, 10**9])
def test_a_few_rows_at_a_time(workspace: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the workspace holds, at least one; the result is the same."""
    codes, seen = codes_of(13, 30, 3), []
    expected = pack_rows(codes, 3)
    whole = rows._pack

    def spy(part: Tensor, bits: int) -> Tensor:
        seen.append(len(part))
        return whole(part, bits)

    monkeypatch.setattr(rows, "_pack", spy)
    monkeypatch.setattr(rows, "WORKSPACE", workspace)
    assert torch.equal(pack_rows(codes, 3), expected)
    most = max(1, workspace // (30 * 3))
    assert seen == [most] * (13 // most) + [13 % most] * bool(13 % most)
