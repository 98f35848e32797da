"""Packing against a reference that writes the stream of bits as one big integer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.quantization.bitpacking import CHUNK, pack, packed_bytes, unpack

BITS = pytest.mark.parametrize("bits", range(1, 9), ids=lambda bits: f"{bits}bit")
EVERY = pytest.mark.parametrize("bits", [1, 1.6, *range(2, 9)], ids=lambda bits: f"{bits}bit")


def levels_of(bits: float) -> int:
    return 3 if bits == 1.6 else 1 << int(bits)


def reference(codes: np.ndarray, bits: float) -> bytes:
    """Code i is worth 2**(i * bits) times its value; the integer's bytes, lowest first.

    Of 1.6 bits, each byte is a number of five digits to the base of three, lowest first.
    """
    if bits == 1.6:
        fives = [codes[i : i + 5] for i in range(0, len(codes), 5)]
        return bytes(int("".join(map(str, five[::-1])), 3) for five in fives)
    number = sum(int(code) << i * bits for i, code in enumerate(codes))
    return number.to_bytes((len(codes) * bits + 7) // 8, "little")


def random_codes(count: int, bits: float) -> np.ndarray:
    rng = np.random.default_rng(count * 10 + int(10 * bits))
    return rng.integers(0, levels_of(bits), count).astype(np.uint8)


@st.composite
def bits_and_codes(draw: st.DrawFn) -> tuple[float, np.ndarray]:
    bits = draw(st.integers(1, 8) | st.just(1.6))
    codes = draw(st.lists(st.integers(0, levels_of(bits) - 1), max_size=70))
    return bits, np.array(codes, np.uint8)


@given(bits_and_codes())
def test_packs_as_the_reference_and_comes_back(case):
    bits, codes = case
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.tobytes() == reference(codes, bits)
    back = unpack(packed, bits, codes.size)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize(
    ("bits", "codes", "expected"),
    [
        pytest.param(1, [1, 0, 1, 1, 0, 0, 0, 1, 1], "8d01", id="1bit"),
        pytest.param(2, [0, 1, 2, 3, 3], "e403", id="2bit"),
        # 5 + 6 * 8 + 7 * 64 = 501 = 0x01f5, lowest byte first
        pytest.param(3, [5, 6, 7], "f501", id="3bit"),
        pytest.param(4, [1, 2, 15], "210f", id="4bit"),
        pytest.param(5, [31, 0, 31], "1f7c", id="5bit"),
        pytest.param(6, [1, 2, 3, 4], "813010", id="6bit"),
        pytest.param(7, [127, 1], "ff00", id="7bit"),
        pytest.param(8, [0, 127, 255], "007fff", id="8bit"),
        pytest.param(4, [], "", id="nothing"),
        # 0 + 1 * 3 + 2 * 9 + 2 * 27 + 1 * 81 = 156, then 2
        pytest.param(1.6, [0, 1, 2, 2, 1, 2], "9c02", id="1.6bit"),
        pytest.param(1.6, [2] * 5, "f2", id="1.6bit-largest"),
        pytest.param(1.6, [], "", id="1.6bit-nothing"),
    ],
)
def test_literal_bytes(bits, codes, expected):
    codes = np.array(codes, np.uint8)
    assert pack(codes, bits).tobytes().hex() == expected
    assert unpack(pack(codes, bits), bits, codes.size).tolist() == codes.tolist()


@EVERY
@pytest.mark.parametrize("beyond", [-1, 0, 1, 3], ids=lambda n: f"chunk{n:+d}")
def test_chunk_borders_leave_no_trace(bits, beyond, monkeypatch):
    monkeypatch.setattr("autoquant.quantization.bitpacking.CHUNK", 40)
    codes = random_codes(3 * 40 + beyond, bits)
    assert pack(codes, bits).tobytes() == reference(codes, bits)
    np.testing.assert_array_equal(unpack(pack(codes, bits), bits, codes.size), codes)


@pytest.mark.parametrize("bits", [1.6, 3])
def test_more_codes_than_one_chunk(bits):
    codes = random_codes(CHUNK + 5, bits)
    packed = pack(codes, bits)
    assert CHUNK % 40 == 0
    assert packed.size == packed_bytes(codes.size, bits)
    np.testing.assert_array_equal(unpack(packed, bits, codes.size), codes)


@given(st.integers(0, 10**9))
def test_five_codes_of_three_levels_take_a_byte(count):
    assert 5 * packed_bytes(count, 1.6) - count in range(5)
    assert packed_bytes(count, 1) <= packed_bytes(count, 1.6) <= packed_bytes(count, 2)


@BITS
def test_density(bits):
    """No more than 7 bits are ever lost, whatever the count."""
    for count in range(40):
        size = pack(random_codes(count, bits), bits).size
        assert size == packed_bytes(count, bits)
        assert 0 <= 8 * size - count * bits <= 7


@BITS
def test_spare_bits_are_zero(bits):
    packed = pack(np.full(3, (1 << bits) - 1, np.uint8), bits)
    assert int.from_bytes(packed.tobytes(), "little") == (1 << 3 * bits) - 1


def test_spare_places_are_zero():
    assert pack(np.full(3, 2, np.uint8), 1.6).tolist() == [2 + 6 + 18]


@pytest.mark.parametrize("bits", [0, 9, -1, 1.5, 2.5])
def test_refuses_other_bits(bits):
    with pytest.raises(ValueError, match=rf"bits must be in \[1, 8\], got {bits}"):
        pack(np.zeros(4, np.uint8), bits)


@pytest.mark.parametrize("bits", [1, 1.6, *range(2, 8)], ids=lambda bits: f"{bits}bit")
def test_refuses_codes_that_do_not_fit(bits):
    levels = levels_of(bits)
    with pytest.raises(ValueError, match=f"codes must be below {levels}, got {levels}"):
        pack(np.array([0, levels], np.uint8), bits)


@pytest.mark.parametrize("size", [3, 5])
def test_refuses_bytes_that_do_not_match_the_count(size):
    with pytest.raises(ValueError, match=f"10 codes of 3 bits must take 4 bytes, got {size}"):
        unpack(np.zeros(size, np.uint8), 3, 10)
