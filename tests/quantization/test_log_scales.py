"""Step sizes in bytes: near, on one grid, and back bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoquant.errors import UserError
from autoquant.quantization.log_scales import PARTS, SPAN, restored, rounded, stored
from autoquant.quantization.scale_rules import SMALLEST_SCALE

SMALL = 2.0 ** (-SPAN / PARTS)  # of a power of two that is not below the largest step size
FLOATS = st.floats(2.0**-39, 2.0**120, width=32)


def scales(*exponents: float) -> Tensor:
    return torch.tensor([2.0**each for each in exponents], dtype=torch.float32)


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_near_and_back_bit_for_bit(values: list[float]) -> None:
    scale = torch.tensor(values)
    kept, packed = rounded(scale), stored(scale)
    assert packed.dtype == torch.uint8
    assert packed.shape == (1 + len(values),)
    assert torch.equal(restored(packed), kept)
    assert torch.equal(stored(kept), packed)  # of what training saw, the same bytes
    assert torch.equal(rounded(kept), kept)
    end = 2.0 ** math.ceil(math.log2(float(kept.max()))) * SMALL
    inside = scale > end
    assert bool(((kept / scale - 1).abs()[inside] <= 2 ** (1 / 32) - 1 + 1e-6).all())
    assert bool((kept[~inside] <= 1.03 * end).all())


@given(st.lists(st.floats(2.0**-9, 1.0, width=32), min_size=2, max_size=20), st.integers(-3, 3))
def test_a_step_size_does_not_depend_on_the_others(values: list[float], octaves: int) -> None:
    scale = torch.tensor(values)
    alone = torch.cat([rounded(each.view(1)) for each in scale])
    assert torch.equal(rounded(scale), alone)
    larger = torch.cat([scale, torch.tensor([2.0**octaves * 1.1])])
    assert torch.equal(rounded(larger)[:-1], alone)


def test_literal_bytes() -> None:
    packed = stored(scales(-3, -3.25, -5, -3 - 1 / 16, -3 - 255 / 16))
    assert packed.tolist() == [125, 0, 4, 32, 1, 255]
    assert torch.equal(restored(packed), scales(-3, -3.25, -5, -3 - 1 / 16, -3 - 255 / 16))


def test_what_is_far_below_the_largest_is_raised() -> None:
    """A row of zeros has the smallest step size that there is."""
    scale = torch.tensor([0.3, SMALLEST_SCALE])
    kept = rounded(scale)
    assert torch.equal(kept[1:], scales(-1 - SPAN / PARTS))
    assert torch.equal(restored(stored(scale)), kept)


def test_zeros_alone() -> None:
    scale = torch.full((3,), SMALLEST_SCALE)
    assert rounded(scale).tolist() == pytest.approx([SMALLEST_SCALE] * 3, rel=0.022)
    assert torch.equal(restored(stored(scale)), rounded(scale))


def test_odd_numbers() -> None:
    """Of a training that diverges: it is to be seen, and nothing breaks."""
    kept = rounded(torch.tensor([math.nan, math.inf, 1.0, 0.0]))
    assert kept[0].isnan()
    lowest = 127 - SPAN / PARTS
    assert torch.equal(kept[1:], scales(127, lowest, lowest))
    assert stored(torch.tensor([math.nan, 1.0])).dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(6, 1), (2, 3), (6, 1, 1, 1)])
def test_shape_and_dtype_stay(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    scale = torch.linspace(0.01, 0.02, 6).view(shape).to(dtype)
    kept = rounded(scale)
    assert (kept.shape, kept.dtype) == (shape, dtype)
    assert torch.equal(restored(stored(scale)).to(dtype), kept.reshape(-1))


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    scale = torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 1e-3
    kept = rounded(rounded(scale).cuda())
    assert torch.equal(kept.cpu(), rounded(scale))
    assert torch.equal(stored(kept).cpu(), stored(rounded(scale)))


@pytest.mark.parametrize("packed", [[128, 255], [255, 0], [88, 255], [72, 0], [128, 0]])
def test_bytes_at_the_ends_of_the_range(packed: list[int]) -> None:
    top, below = packed
    scale = restored(torch.tensor(packed, dtype=torch.uint8))
    assert scale.log2().mul(PARTS).round().tolist() == [PARTS * (top - 128) - below]


@pytest.mark.parametrize("packed", [[0, 0], [71, 0], [72, 1], [72, 0, 255]])
def test_bytes_that_hold_scales_out_of_range(packed: list[int]) -> None:
    with pytest.raises(UserError, match=r"scales must be in \[2\*\*-56, 2\*\*127\]"):
        restored(torch.tensor(packed, dtype=torch.uint8))
