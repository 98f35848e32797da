"""Codes in the kernels' order: what goes in comes out, in exactly so many bits."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoquant.quantization import native
from autoquant.quantization.codes import Grid, QuantParams, decode, encode
from autoquant.quantization.native import matrix
from tests.quantization.native.machine import EVERY_SET, NEEDS_KERNELS, running_on

pytestmark = NEEDS_KERNELS

BITS = range(1, 9)
GRIDS = {
    **{f"midrise{bits}": Grid.signed(bits, "midrise") for bits in BITS},
    **{f"midtread{bits}": Grid.signed(bits, "midtread") for bits in BITS[1:]},
    "three levels": Grid.signed(1.6),
}
EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def codes(grid: Grid, rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(grid.qmin, grid.qmax + 1, (rows, columns), generator=generator)
    return made.to(torch.int8)


def values(rows: int, columns: int, spread: float = 1.0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) * spread


# --- weights -------------------------------------------------------------------------------------


@EVERY_SET
@pytest.mark.parametrize("gates", [1, 3, 4])
@pytest.mark.parametrize("bits", BITS)
def test_codes_come_out_as_they_went_in(bits, gates, instructions):
    grid = Grid.signed(bits)
    with running_on(instructions):
        for units, columns in product((1, 7, 8, 9, 31, 33, 65), (1, 3, 4, 5, 31, 32, 33, 100)):
            given_ = codes(grid, gates * units, columns)
            assert torch.equal(native.pack_codes(given_, grid, bits, gates).unpacked(), given_)


@settings(max_examples=100)
@given(
    st.integers(1, 8),
    st.sampled_from([1, 3, 4]),
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(0, 99),
)
def test_codes_come_out_as_they_went_in_in_any_shape(bits, gates, units, columns, seed):
    grid = Grid.signed(bits)
    given_ = codes(grid, gates * units, columns, seed)
    packed = native.pack_codes(given_, grid, bits, gates)
    assert torch.equal(packed.unpacked(), given_)
    assert int(packed.sums.sum()) == int(given_.long().sum())


@EVERY_SET
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_three_levels_are_held_in_two_bits(gates, instructions):
    grid = Grid.signed(1.6)
    with running_on(instructions):
        for units, columns in product((1, 9, 33), (1, 5, 32, 100)):
            given_ = codes(grid, gates * units, columns)
            packed = native.pack_codes(given_, grid, 2, gates)
            assert torch.equal(packed.unpacked(), given_)
            assert int(packed.sums.sum()) == int(given_.sum())


@pytest.mark.parametrize("held", BITS)
def test_more_bits_than_needed_are_fine(held):
    grid = Grid.signed(1)
    given_ = codes(grid, 20, 40)
    assert torch.equal(native.pack_codes(given_, Grid.signed(held), held).unpacked(), given_)


@EVERY_SET
@pytest.mark.parametrize("bits", BITS)
def test_a_code_takes_no_more_than_its_bits(bits, instructions):
    with running_on(instructions):
        units = 4 * matrix.lanes()
        packed = native.pack_codes(codes(Grid.signed(bits), units, 64), Grid.signed(bits), bits)
    assert packed.codes.numel() * 8 == units * 64 * bits


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_rows_are_padded_to_whole_vectors_and_columns_to_whole_chunks(gates):
    packed = native.pack_codes(codes(Grid.signed(4), gates, 1), Grid.signed(4), 4, gates)
    vectors = 4 if gates == 1 else gates
    assert packed.codes.numel() * 2 == vectors * matrix.lanes() * 32


@EVERY_SET
@EVERY_GRID
@pytest.mark.parametrize("channels", [True, False], ids=["a-scale-a-row", "one-scale"])
def test_values_become_the_quantizers_codes(grid, channels, instructions):
    given_ = values(35, 21, 2.0 * grid.max_level)
    scale = torch.rand(35, 1) + 0.5 if channels else torch.tensor(0.7)
    expected = encode(given_, scale, grid).to(torch.int8)
    quantized = decode(expected.float(), scale, grid)
    with running_on(instructions):
        for each in (given_, quantized):
            packed = native.pack_values(each, QuantParams(scale, grid))
            assert packed.finite
            assert torch.equal(packed.unpacked(), expected)


def test_values_of_gates_become_the_codes_of_gates():
    grid, scale = Grid.signed(4), torch.tensor(0.2)
    given_ = values(3 * 13, 13)
    packed = native.pack_values(given_, QuantParams(scale, grid), 3)
    assert torch.equal(packed.unpacked(), encode(given_, scale, grid).to(torch.int8))


def test_ties_go_to_even_codes():
    grid = Grid.signed(8)
    halves = torch.arange(-130, 130).float().view(1, -1) + 0.5
    packed = native.pack_values(halves, QuantParams(torch.tensor(1.0), grid))
    assert torch.equal(packed.unpacked().float(), halves.round().clamp(-128, 127))


def test_values_with_gaps_in_memory():
    grid, scale = Grid.signed(4), torch.rand(9, 1) + 0.5
    given_ = values(30, 9).t()
    assert not given_.is_contiguous()
    packed = native.pack_values(given_, QuantParams(scale, grid))
    assert torch.equal(packed.unpacked(), encode(given_, scale, grid).to(torch.int8))
    turned = codes(grid, 30, 9).t()
    assert torch.equal(native.pack_codes(turned, grid, 4).unpacked(), turned)


@EVERY_SET
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (34, 20)], ids=str)
def test_a_nan_is_noticed_wherever_it_is(place, instructions):
    given_, coding = values(35, 21), QuantParams(torch.tensor(0.1), Grid.signed(4))
    given_[place] = math.nan
    with running_on(instructions):
        assert not native.pack_values(given_, coding).finite
        given_[place] = math.inf
        packed = native.pack_values(given_, coding)
        assert packed.finite
        assert packed.unpacked()[place] == 7


def test_a_step_size_that_is_nan_is_noticed():
    scale = torch.ones(35, 1)
    scale[9] = math.nan
    assert not native.pack_values(values(35, 21), QuantParams(scale, Grid.signed(4))).finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_step_sizes_of_any_type(dtype):
    scale, grid = (torch.rand(35, 1) + 0.5).to(dtype), Grid.signed(4)
    packed = native.pack_values(values(35, 21), QuantParams(scale, grid))
    assert torch.equal(
        packed.unpacked(), encode(values(35, 21), scale.float(), grid).to(torch.int8)
    )


# --- activations ---------------------------------------------------------------------------------

ACTIVATIONS = {
    **{f"signed{bits}": Grid.signed(bits, "midtread") for bits in BITS[1:]},
    **{f"unsigned{bits}": Grid.unsigned(bits) for bits in BITS[1:]},
}
EVERY_ACTIVATION = pytest.mark.parametrize("grid", ACTIVATIONS.values(), ids=ACTIVATIONS)


@EVERY_SET
@EVERY_ACTIVATION
def test_activations_become_the_quantizers_codes(grid, instructions):
    for columns in (1, 7, 8, 9, 31, 33, 100):
        given_ = values(5, columns, 2.0 * grid.max_level)
        stride = -(-columns // 32) * 32
        with running_on(instructions):
            ours, sums, finite = native.encode(given_, 0.7, grid, stride)
        expected = encode(given_, torch.tensor(0.7), grid).to(torch.int64)
        assert finite
        assert torch.equal(ours[:, :columns].to(torch.int64) + grid.qmin, expected)
        assert not ours[:, columns:].any()
        assert torch.equal(sums.to(torch.int64), expected.sum(1))


def test_activations_beyond_the_grid_are_clipped():
    given_ = torch.tensor([[1e30, -1e30, math.inf, -math.inf, 0.0, -0.0]])
    ours, _, finite = native.encode(given_, 0.1, Grid.signed(4), 32)
    assert finite
    assert ours[0, :6].tolist() == [15, 0, 15, 0, 8, 8]


@EVERY_SET
@pytest.mark.parametrize("place", [(0, 0), (1, 6), (3, 20)], ids=str)
def test_an_activation_that_is_nan_is_noticed(place, instructions):
    given_ = values(4, 21)
    given_[place] = math.nan
    with running_on(instructions):
        assert not native.encode(given_, 0.1, Grid.signed(4), 32)[2]
