"""Number formats: what is stored and what comes back; and formats that are added from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.artifact import manifest, packed_file
from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.quantization import formats
from autoquant.quantization.bitpacking import pack
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.quantization.formats import (
    FloatFormat,
    IntegerFormat,
    NumberFormat,
    StoredTensor,
    format_of,
    number_format,
)
from autoquant.quantization.storage import (
    restore_scale,
    round_scale,
    store_scale,
    stored_scale,
    straight_through,
)
from autoquant.runtime import PackedLinear
from autoquant.settings import GRIDS, Scheme
from tests.runtime.pairs import assert_same, noise, pair
from tests.toys import plan_of, prepared

CODE_BITS = (1, 1.6, *range(2, 9))

# --- which format a parameter has ----------------------------------------------------------------


def test_a_plan_and_a_scheme_say_which_format_a_parameter_has() -> None:
    choice = LayerChoice(4, 8, recurrent_bits=1.6)
    assert format_of(Scheme(), "weight", choice) == IntegerFormat(4)
    assert format_of(Scheme(), "recurrent", choice) == IntegerFormat(1.6)
    assert format_of(Scheme(), "bias", choice) == FloatFormat(16)
    assert format_of(Scheme(bias_bits=8), "bias", choice) == IntegerFormat(8)
    assert format_of(Scheme(), "weight", LayerChoice(32)) == FloatFormat(32)
    scheme = Scheme(granularity="tensor", grid="midtread", scale_bits=32)
    assert format_of(scheme, "weight", choice) == IntegerFormat(4, "midtread", False, 32)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (7,)])
def test_the_shape_of_a_scale(shape: tuple[int, ...]) -> None:
    rows = shape[0] if len(shape) > 1 else 1
    rest = (1,) * (len(shape) - 1)
    assert IntegerFormat(4).scale_shape(shape) == (rows, *rest)
    assert IntegerFormat(4, per_channel=False).scale_shape(shape) == (1, *rest)


def test_one_step_size_alone_takes_bfloat16_instead_of_bytes() -> None:
    dtypes = {bits: [stored_scale(n, bits)[0] for n in (1, 2, 300)] for bits in (8, 16, 32)}
    assert dtypes[8] == [torch.bfloat16, torch.uint8, torch.uint8]
    assert dtypes[16] == [torch.bfloat16] * 3
    assert dtypes[32] == [torch.float32] * 3


# --- what is stored ------------------------------------------------------------------------------


@given(
    bits=st.sampled_from(CODE_BITS),
    kind=st.sampled_from(["auto", "midrise", "midtread"]),
    per_channel=st.booleans(),
    scale_bits=st.sampled_from([8, 16, 32]),
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
)
def test_integers_reload_bit_for_bit(
    bits: float, kind: str, per_channel: bool, scale_bits: int, shape: tuple[int, ...]
) -> None:
    """What is stored is what ``tensors`` says, and decodes to what fake quantization gives."""
    number = IntegerFormat(bits, kind, per_channel, scale_bits)
    values = noise(*shape)
    scale = number.round_scale(noise(*number.scale_shape(shape), seed=2).abs() + 0.01)
    stored = number.store(values, scale)
    assert number.tensors(shape) == tuple(
        StoredTensor(suffix, tensor.dtype, tuple(tensor.shape)) for suffix, tensor in stored.items()
    )
    loaded = number.load(stored, shape)
    expected = decode(encode(values, scale, number.grid), scale, number.grid)
    assert torch.equal(loaded.values(), expected)
    assert loaded.codes.dtype == torch.int8
    assert loaded.codes.shape == shape


@given(
    bits=st.integers(1, 8) | st.just(1.6),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    data=st.data(),
)
def test_values_of_codes(bits: float, rows: int, columns: int, data: st.DataObject) -> None:
    """By the formula of the format: scale * (code + lowest + offset), codes least bit first."""
    kind = data.draw(st.sampled_from(["auto", "midrise", "midtread"]))
    grid, generator = Grid.signed(bits, kind), np.random.default_rng(0)
    levels = grid.qmax - grid.qmin + 1
    codes = generator.integers(0, levels, (rows, columns), dtype=np.uint8)
    scale = torch.linspace(0.5, 2, rows).bfloat16()
    tensors = {".codes": torch.from_numpy(pack(codes.reshape(-1), bits)), ".scale": scale}
    values = IntegerFormat(bits, kind).load(tensors, (rows, columns)).values()
    steps = torch.from_numpy(codes.astype(np.float32)) + grid.qmin + grid.offset
    assert torch.equal(values, steps * scale.float()[:, None])


@pytest.mark.parametrize("chunk", [40, 80, formats.CHUNK])
@pytest.mark.parametrize("bits", CODE_BITS, ids="w{}".format)
def test_codes_are_unpacked_a_chunk_at_a_time(
    bits: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.quantization.formats.CHUNK", chunk)
    assert chunk % 40 == 0
    shape, most = (19, 11), Grid.signed(bits).qmax - Grid.signed(bits).qmin
    codes = (np.arange(math.prod(shape)) % (most + 1)).astype(np.uint8)
    tensors = {".codes": torch.from_numpy(pack(codes, bits)), ".scale": torch.ones(1)}
    loaded = IntegerFormat(bits).load(tensors, shape)
    assert loaded.codes.dtype == torch.int8
    expected = torch.from_numpy(codes.astype(np.int16) + loaded.grid.qmin).view(shape)
    assert torch.equal(loaded.codes.short(), expected)


@pytest.mark.parametrize("bits", CODE_BITS, ids="w{}".format)
def test_codes_fit_into_whole_bits(bits: float) -> None:
    grid = Grid.signed(bits)
    loaded = formats.Codes(torch.zeros(1, 1, dtype=torch.int8), torch.ones(1, 1), grid)
    assert loaded.bits == math.ceil(bits)


@pytest.mark.parametrize("bits", [16, 32])
def test_values_that_are_stored_as_floats(bits: int) -> None:
    stored = noise(3, 4).half() if bits == 16 else noise(3, 4)
    assert FloatFormat(bits).tensors((3, 4)) == (StoredTensor("", stored.dtype, (3, 4)),)
    values = FloatFormat(bits).load({"": stored}, (3, 4))
    assert values.dtype == torch.float32
    assert torch.equal(values, stored.float())
    assert values.data_ptr() != stored.data_ptr()


# --- formats from outside the package ------------------------------------------------------------


@dataclass(frozen=True)
class GroupedIntegers:
    """Codes of 4 bits with a scale for each group of four values, learned as all scales are."""

    grid: ClassVar[Grid] = Grid.signed(4)
    group: ClassVar[int] = 4

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return math.prod(shape) // self.group, 1

    def round_scale(self, scale: Tensor) -> Tensor:
        return round_scale(scale, 16)

    def tensors(self, shape: tuple[int, ...]) -> tuple[StoredTensor, ...]:
        scale = StoredTensor(".group_scale", *stored_scale(self.scale_shape(shape)[0], 16))
        return StoredTensor(".codes", torch.int8, (math.prod(shape),)), scale

    def store(self, values: Tensor, scale: Tensor) -> dict[str, Tensor]:
        codes = encode(values.reshape(-1, self.group), scale, self.grid)
        return {".codes": codes.to(torch.int8).flatten(), ".group_scale": store_scale(scale, 16)}

    def load(self, stored: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = stored[".codes"].float().view(-1, self.group)
        scale = restore_scale(stored[".group_scale"])[:, None]
        return decode(codes, scale, self.grid).view(shape)


@dataclass(frozen=True)
class ScaledFloat8:
    """e4m3 numbers with one power of two for the tensor, which follows from its largest value."""

    largest: ClassVar[float] = torch.finfo(torch.float8_e4m3fn).max

    def rounded(self, values: Tensor) -> Tensor:
        return straight_through(values, lambda v: self.load(self.store(v), v.shape))

    def tensors(self, shape: tuple[int, ...]) -> tuple[StoredTensor, ...]:
        return (
            StoredTensor(".bytes", torch.uint8, shape),
            StoredTensor(".scale", torch.float32, (1,)),
        )

    def store(self, values: Tensor) -> dict[str, Tensor]:
        scale = torch.exp2((values.abs().max() / self.largest).log2().ceil())
        floats = (values / scale).to(torch.float8_e4m3fn)
        return {".bytes": floats.view(torch.uint8), ".scale": scale.view(1)}

    def load(self, stored: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        return stored[".bytes"].view(torch.float8_e4m3fn).float() * stored[".scale"]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two formats, each registered by one decorated function, for one test."""
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
    before = list(GRIDS)

    @number_format("groups of four")
    def grouped(bits: float, role: str, scheme: Scheme) -> NumberFormat | None:
        return GroupedIntegers() if bits == 4 and role != "bias" else None

    @number_format("float8")
    def float8(bits: float, role: str, scheme: Scheme) -> NumberFormat | None:
        return ScaledFloat8() if bits == 8 and role != "bias" else None

    yield
    GRIDS[:] = before


ADDED = pytest.mark.parametrize(
    ("name", "bits", "number", "size"),
    [("groups of four", 4, GroupedIntegers(), 48 + 2 * 12), ("float8", 8, ScaledFloat8(), 48 + 4)],
    ids=["groups of four", "float8"],
)


@ADDED
@pytest.mark.usefixtures("added")
def test_an_added_format_fake_quantizes_and_learns(
    name: str, bits: int, number: NumberFormat, size: int
) -> None:
    weight = noise(6, 8).requires_grad_()
    quantizer = WeightQuantizer(weight.detach(), bits, Scheme(grid=name))
    assert quantizer.format == number
    quantized = quantizer(weight)
    assert quantized.shape == weight.shape
    assert 0 < float((quantized - weight).detach().abs().max()) < 0.3
    quantized.sum().backward()
    assert float((weight.grad == 1).float().mean()) > 0.8  # 0 where a value is clipped
    assert [p.grad.shape for p in quantizer.parameters()] == (
        [(12, 1)] if isinstance(number, GroupedIntegers) else []
    )
    stored = quantizer.stored(weight)
    assert torch.equal(number.load(stored, (6, 8)), quantized)


@ADDED
@pytest.mark.usefixtures("added")
def test_an_added_format_is_counted_saved_and_reloaded_bit_for_bit(
    name: str, bits: int, number: NumberFormat, size: int, tmp_path: Path
) -> None:
    """A layer of this format and one of another; both as they were in training."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 2))

    scheme, choice = Scheme(grid=name), LayerChoice(bits, 8)
    both = pair(tmp_path, build, choice, noise(4, 3, 8), scheme)
    _, network = prepared(build())
    plan = plan_of(network, choice)
    entries = manifest.entries(network, plan, scheme)
    assert sum(each.bytes for each in entries if each.name.startswith("0.weight")) == size
    assert both.path.stat().st_size == manifest.size_bytes(network, plan, scheme)
    header, _ = packed_file.read(both.path)
    assert header.scheme == scheme
    assert_same(both, noise(5, 2, 8, seed=3))
    assert torch.equal(both.loaded[0].weight, both.fake[0].weight)
    assert not isinstance(both.loaded[0], PackedLinear)


@pytest.mark.usefixtures("added")
def test_parameters_that_an_added_format_does_not_take_have_the_usual_one() -> None:
    for name in ("groups of four", "float8"):
        scheme = Scheme(grid=name, bias_bits=8)
        assert format_of(scheme, "weight", LayerChoice(3)) == IntegerFormat(3)
        assert format_of(scheme, "bias", LayerChoice(8)) == IntegerFormat(8)
        assert format_of(scheme, "weight", LayerChoice(32)) == FloatFormat(32)


def test_a_file_of_a_format_that_is_not_registered_is_refused(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("added")
    path = pair(
        tmp_path, lambda: nn.Linear(8, 6), LayerChoice(8), noise(4, 3, 8), Scheme(grid="float8")
    ).path
    GRIDS.remove("float8")
    with pytest.raises(UserError, match="grid must be one of auto, midrise, midtread"):
        packed_file.read(path)
