"""PackedWeight: how many bytes, which values, and what is left of them elsewhere."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoquant.errors import UserError
from autoquant.quantization.bitpacking import packed_bytes
from autoquant.quantization.codes import Grid, quant_params_of
from autoquant.quantization.native import library
from autoquant.quantization.native.matrix import lanes
from autoquant.runtime import PackedWeight
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import WEIGHT_BITS, noise

GATES = {"one gate": 1, "three gates": 3, "four gates": 4}


def codes_of(rows: int, columns: int, bits: int, seed: int = 0) -> Tensor:
    grid, generator = Grid.signed(bits), torch.Generator().manual_seed(seed)
    shape = (rows, columns)
    return torch.randint(grid.qmin, grid.qmax + 1, shape, generator=generator, dtype=torch.int8)


def weight_of(
    rows: int, columns: int, bits: int, gates: int | None = 1, *, each: bool = True, seed: int = 0
) -> PackedWeight:
    scale = noise(rows if each else 1, 1, seed=seed).abs() + 0.01
    codes = codes_of(rows, columns, bits, seed)
    return PackedWeight(codes, scale, Grid.signed(bits), bits, gates=gates)


def up_to(count: int, whole: int) -> int:
    return math.ceil(count / whole) * whole


# --- bytes ----------------------------------------------------------------------------------------


def matrix_bytes(rows: int, columns: int, bits: int, gates: int, width: int) -> int:
    """What a matrix takes, with V lanes in a vector.

    Rows fill whole blocks: of V units of each gate, or of four times V units where there are no
    gates. Columns fill whole chunks of 32, at 8 bits groups of 4. Beside the codes each of these
    rows has a sum of 4 bytes, and each row of the weight a step size of 4 bytes.
    """
    padded = gates * up_to(rows // gates, width) if gates > 1 else up_to(rows, 4 * width)
    deep = up_to(columns, 4 if bits == 8 else 32)
    return padded * deep * bits // 8 + 4 * padded + 4 * rows


@NEEDS_KERNELS
@pytest.mark.parametrize("gates", GATES.values(), ids=GATES)
@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_bytes_of_a_factor(bits: int, gates: int) -> None:
    for units, columns in [(1, 1), (8, 32), (16, 4), (17, 33), (150, 101)]:
        rows = gates * units
        weight = weight_of(rows, columns, bits, gates)
        assert weight.nbytes == matrix_bytes(rows, columns, bits, gates, lanes())


@NEEDS_KERNELS
@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_a_large_factor_takes_little_more_than_its_codes(bits: int) -> None:
    """Step sizes and sums, 8 bytes a row: at 512 columns 1.6% at 8 bits, 13% at one."""
    weight = weight_of(1024, 512, bits, 4)
    assert weight.nbytes == packed_bytes(1024 * 512, bits) + 8 * 1024


@pytest.mark.parametrize("each", [True, False], ids=["a step a row", "one step"])
@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_bytes_of_a_table(bits: int, each: bool) -> None:
    """Rows of whole bytes, and the step sizes."""
    table = weight_of(50, 13, bits, None, each=each)
    assert table.nbytes == 50 * packed_bytes(13, bits) + 4 * (50 if each else 1)


@pytest.mark.parametrize("gates", [1, None], ids=["factor", "table"])
def test_bytes_are_those_of_all_that_is_held(gates: int | None) -> None:
    """Whatever tensor hangs on the object, directly or through the matrix, is counted."""
    weight = weight_of(70, 40, 3, gates)
    held = [*weight.parameters(), *weight.buffers()]
    if weight.matrix is not None:
        held += [each for each in vars(weight.matrix).values() if isinstance(each, Tensor)]
    assert weight.nbytes == sum(each.nbytes for each in held)


# --- values ---------------------------------------------------------------------------------------


@given(
    bits=st.integers(1, 8),
    gates=st.sampled_from([1, 3, 4]),
    units=st.integers(1, 40),
    columns=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_codes_come_back(bits: int, gates: int, units: int, columns: int, seed: int) -> None:
    rows = gates * units
    weight = weight_of(rows, columns, bits, gates, seed=seed)
    codes = codes_of(rows, columns, bits, seed)
    assert torch.equal(weight.codes(), codes)
    assert torch.equal(weight.values(), (codes + weight.grid.offset) * weight.scale)


@pytest.mark.parametrize("grid", ["auto", "midrise", "midtread"])
@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_values_are_marked_with_their_codes(bits: int, grid: str) -> None:
    codes, scale = codes_of(9, 5, bits), noise(9, 1).abs()
    weight = PackedWeight(codes, scale, Grid.signed(bits, grid), bits)
    coding = quant_params_of(weight.values())
    assert coding is not None
    assert coding.grid == weight.grid
    assert torch.equal(coding.scale, scale)
    assert not coding.scale.requires_grad


def test_each_decoding_is_a_new_tensor() -> None:
    weight = weight_of(9, 5, 4)
    first = weight.values()
    kept = first.clone()
    first.zero_()
    assert torch.equal(weight.values(), kept)


# --- copies and moves -----------------------------------------------------------------------------


def through_torch(weight: PackedWeight) -> PackedWeight:
    file = io.BytesIO()
    torch.save(weight, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda weight: pickle.loads(pickle.dumps(weight)),
    "torch.save": through_torch,
}


@pytest.mark.parametrize("gates", [1, 4, None], ids=["factor", "gates", "table"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_has_the_codes(way, gates: int | None) -> None:
    """And it is of one form with the original: in a matrix, or in rows."""
    weight = weight_of(36, 21, 3, gates)
    copied = way(weight)
    assert torch.equal(copied.codes(), weight.codes())
    assert torch.equal(copied.values(), weight.values())
    assert copied.nbytes == weight.nbytes
    assert (copied.matrix is None) == (weight.matrix is None)


@NEEDS_KERNELS
def test_a_copys_matrix_is_its_own() -> None:
    weight = weight_of(36, 21, 3)
    copied = copy.deepcopy(weight)
    assert weight.matrix is not None
    assert copied.matrix is not None
    assert copied.matrix.struct.codes != weight.matrix.struct.codes
    expected = weight.codes()
    weight.matrix.codes.zero_()
    assert torch.equal(copied.codes(), expected)


@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_a_pickle_is_packed(bits: int) -> None:
    """Not a byte for each code: rows of whole bytes, step sizes, and some words."""
    weight = weight_of(400, 320, bits, 4)
    data = len(pickle.dumps(weight))
    assert data < 400 * packed_bytes(320, bits) + 4 * 400 + 3000


@NEEDS_KERNELS
def test_a_pickle_of_a_machine_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side keeps the form that suits it."""
    with monkeypatch.context() as patch:
        patch.setattr(library, "_library", lambda: None)
        weight = weight_of(36, 21, 3)
        assert weight.matrix is None
        data, expected = pickle.dumps(weight), weight.values()
    here = pickle.loads(data)
    assert here.matrix is not None
    assert torch.equal(here.values(), expected)
    data = pickle.dumps(here)
    monkeypatch.setattr(library, "_library", lambda: None)
    there = pickle.loads(data)
    assert there.matrix is None
    assert torch.equal(there.values(), expected)


@pytest.mark.parametrize("gates", [1, 4, None], ids=["factor", "gates", "table"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_values_follow_the_dtype(dtype: torch.dtype, gates: int | None) -> None:
    """The codes stay the same; float32 again is a matrix again."""
    weight = weight_of(36, 21, 5, gates)
    codes, had = weight.codes(), weight.matrix is not None
    weight.to(dtype)
    assert weight.matrix is None
    assert weight.values().dtype == dtype
    assert torch.equal(weight.codes(), codes)
    assert torch.equal(weight.values(), codes.to(dtype) * weight.scale)
    weight.float()
    assert (weight.matrix is not None) == had
    assert torch.equal(weight.codes(), codes)


def test_double_and_back_is_as_before() -> None:
    weight = weight_of(36, 21, 5)
    before = weight.values()
    assert torch.equal(weight.double().float().values(), before)


@NEEDS_KERNELS
@pytest.mark.parametrize("move", ["cpu", "float", "eval", "requires_grad_"])
def test_what_changes_nothing_packs_nothing_again(move: str) -> None:
    weight = weight_of(36, 21, 5)
    before = weight.matrix
    getattr(weight, move)()
    assert weight.matrix is before


# --- state_dict -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gates", [1, 4, None], ids=["factor", "gates", "table"])
@pytest.mark.parametrize("bits", WEIGHT_BITS, ids="w{}".format)
def test_a_state_dict_has_codes_and_steps(bits: int, gates: int | None) -> None:
    one, other = (weight_of(36, 21, bits, gates, seed=seed) for seed in (1, 2))
    assert not torch.equal(one.values(), other.values())
    state = one.state_dict()
    assert set(state) == {"scale", "_extra_state"}
    assert state["_extra_state"].dtype == torch.uint8
    assert state["_extra_state"].shape == (36, packed_bytes(21, bits))
    other.load_state_dict(state)
    assert torch.equal(other.values(), one.values())
    assert (other.matrix is None) == (one.matrix is None)


@pytest.mark.parametrize(("columns", "bits"), [(21, 4), (20, 7), (29, 3)])
def test_codes_of_another_weight_are_refused(columns: int, bits: int) -> None:
    weight = weight_of(36, 21, 3)
    state = weight_of(36, columns, bits).state_dict()
    with pytest.raises(UserError, match=r"packed codes must be torch.uint8 \[36, 8\], got"):
        weight.load_state_dict(state)


@pytest.mark.parametrize(
    ("shape", "scales", "bits", "gates", "says"),
    [
        ((4,), (4, 1), 4, 1, "packed codes must be int8"),
        ((4, 3), (3, 1), 4, 1, "scales of packed codes must be"),
        ((4, 3), (4,), 4, 1, "scales of packed codes must be"),
        ((5, 3), (5, 1), 4, 4, "rows for each of 4 gates"),
        ((4, 3), (4, 1), 3, 1, "must have the bits of their grid"),
    ],
    ids=["one axis", "scales", "scale axes", "gates", "bits"],
)
def test_shapes_that_do_not_fit(
    shape: tuple[int, ...], scales: tuple[int, ...], bits: int, gates: int, says: str
) -> None:
    codes = torch.zeros(shape, dtype=torch.int8)
    with pytest.raises(UserError, match=says):
        PackedWeight(codes, torch.ones(scales), Grid.signed(4), bits, gates=gates)


@pytest.mark.parametrize("code", [-9, 8, 127])
def test_codes_outside_of_the_grid(code: int) -> None:
    codes = torch.zeros(4, 3, dtype=torch.int8)
    codes[2, 1] = code
    with pytest.raises(UserError, match=r"codes must be in \[-8, 7\], got"):
        PackedWeight(codes, torch.ones(4, 1), Grid.signed(4), 4)
