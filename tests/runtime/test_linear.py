"""PackedLinear: the numbers of the fake-quantized layer, for every number of bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autoquant.plan import LayerChoice
from autoquant.runtime import PackedLinear
from autoquant.settings import Scheme
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import (
    ACTIVATION_BITS,
    CHOSEN_BITS,
    SCHEMES,
    Pair,
    assert_same,
    noise,
    pair,
    weights_of,
)

FEATURES, UNITS = 37, 21  # no multiple of what a kernel takes at once


def linear(
    folder: Path,
    choice: LayerChoice,
    features: int = FEATURES,
    units: int = UNITS,
    *,
    bias: bool = True,
    scheme: Scheme | None = None,
) -> Pair:
    inputs = noise(6, 3, features)
    return pair(folder, lambda: nn.Linear(features, units, bias=bias), choice, inputs, scheme)


@pytest.mark.parametrize("activation", ACTIVATION_BITS, ids="a{}".format)
@pytest.mark.parametrize("weight", CHOSEN_BITS, ids="w{}".format)
def test_equals_the_fake_quantized_layer(weight: float, activation: int, tmp_path: Path) -> None:
    """Also far outside the range that was calibrated."""
    both = linear(tmp_path, LayerChoice(weight, activation))
    assert isinstance(both.loaded, PackedLinear)
    assert_same(both, noise(5, FEATURES, seed=2) * 3)


@pytest.mark.parametrize("bits", [16, 32])
def test_a_float_weight_is_decoded_once(bits: int, tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(bits, 8))
    assert isinstance(both.loaded, nn.Linear)
    assert_same(both, noise(5, FEATURES))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("weight", [1, 3, 8], ids="w{}".format)
def test_every_scheme(weight: float, scheme: str, tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(weight, 8), scheme=SCHEMES[scheme])
    assert_same(both, noise(5, FEATURES).abs())


SHAPES = [(1, 1), (1, 70), (70, 1), (4, 16), (31, 33), (32, 32), (33, 64), (129, 257)]


@pytest.mark.parametrize(("features", "units"), SHAPES, ids="{}".format)
@pytest.mark.parametrize("weight", [1, 5, 8], ids="w{}".format)
def test_odd_sizes(weight: float, features: int, units: int, tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(weight, 4), features, units)
    for rows in (1, 2, 25):
        assert_same(both, noise(rows, features, seed=rows))


def test_no_bias(tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(4, 8), bias=False)
    assert both.loaded.bias is None
    assert_same(both, noise(5, FEATURES))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("activation", [2, 8], ids="a{}".format)
def test_inputs_of_one_sign_and_of_both(activation: int, signed: bool, tmp_path: Path) -> None:
    inputs = noise(6, 3, FEATURES) if signed else noise(6, 3, FEATURES).abs()
    both = pair(tmp_path, lambda: nn.Linear(FEATURES, UNITS), LayerChoice(3, activation), inputs)
    assert (both.loaded.input_quantizer.grid.qmin < 0) == signed
    assert_same(both, noise(6, FEATURES, seed=2))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
def test_any_axes_before_the_features(shape: tuple[int, ...], tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(4, 8))
    ours, theirs = (model(noise(*shape, FEATURES)) for model in (both.loaded, both.fake))
    assert ours.shape == (*shape, UNITS)
    assert torch.equal(ours, theirs)


def test_inputs_that_are_not_contiguous(tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(4, 8))
    assert_same(both, noise(FEATURES, 5).t())
    assert_same(both, noise(5, 2 * FEATURES)[:, ::2])
    assert_same(both, noise(1, FEATURES).expand(5, FEATURES))


@pytest.mark.parametrize("width", [1, FEATURES - 1, FEATURES + 1, 2 * FEATURES])
@pytest.mark.parametrize("activation", [8, 32], ids="a{}".format)
def test_inputs_of_another_width_are_refused(activation: int, width: int, tmp_path: Path) -> None:
    both = linear(tmp_path, LayerChoice(4, activation))
    with pytest.raises(RuntimeError, match="shape"):
        both.loaded(noise(2, width))


@NEEDS_KERNELS
@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("weight", CHOSEN_BITS, ids="w{}".format)
def test_the_product_is_one_of_integers(weight: float, tmp_path: Path) -> None:
    loaded = linear(tmp_path, LayerChoice(weight, 8)).loaded
    assert loaded(noise(5, FEATURES)).isfinite().all()
    with pytest.raises(AssertionError, match="decoded"):
        _ = loaded.weight


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("weight", CHOSEN_BITS, ids="w{}".format)
def test_the_weight_is_what_its_codes_stand_for(weight: float, scheme: str, tmp_path: Path) -> None:
    """Scale times (code + offset), computed here; the very values of the fake-quantized weight."""
    both = linear(tmp_path, LayerChoice(weight, 8), scheme=SCHEMES[scheme])
    (packed,) = weights_of(both.loaded)
    codes = packed.codes()
    assert codes.dtype == torch.int8
    assert packed.grid.qmin <= int(codes.min()) <= int(codes.max()) <= packed.grid.qmax
    by_hand = (codes.float() + packed.grid.offset) * packed.scale
    assert torch.equal(both.loaded.weight, by_hand)
    assert torch.equal(both.loaded.weight, both.fake.weight)
