"""Grids of codes, and the quantization parameters that are attached to a tensor."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoquant.kernels import linear
from autoquant.quantization.codes import (
    Grid,
    QuantParams,
    QuantSpec,
    attach_quant_params,
    quant_params_of,
)
from autoquant.quantization.fake_quantize import fake_quantize

CODING = QuantParams(torch.tensor(0.5), Grid.signed(4))


# --- grids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "levels"),
    [
        pytest.param(Grid.signed(1), [-0.5, 0.5], id="1-bit"),
        pytest.param(Grid.signed(2), [-1.5, -0.5, 0.5, 1.5], id="2-bits"),
        pytest.param(Grid.signed(2, "midtread"), [-2, -1, 0, 1], id="2-bits-midtread"),
        pytest.param(Grid.signed(1.6), [-1, 0, 1], id="1.6-bits"),
        pytest.param(Grid.signed(1.6, "midrise"), [-1, 0, 1], id="1.6-bits-midrise"),
        pytest.param(Grid.unsigned(2), [0, 1, 2, 3], id="2-bits-unsigned"),
        pytest.param(
            Grid.signed(4, "midrise"), [i + 0.5 for i in range(-8, 8)], id="4-bits-midrise"
        ),
    ],
)
def test_levels(grid, levels):
    assert [code + grid.offset for code in range(grid.qmin, grid.qmax + 1)] == levels
    assert grid.max_level == max(map(abs, levels))


@given(st.integers(1, 8), st.sampled_from(["auto", "midrise", "midtread"]))
def test_codes_of_weights_fit_into_a_signed_byte(bits, kind):
    grid = Grid.signed(bits, kind)
    assert (grid.qmin, grid.qmax) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert grid.qmin >= -128
    assert grid.offset in (0.0, 0.5)


@given(st.integers(1, 8))
def test_codes_of_unsigned_activations_fit_into_a_byte(bits):
    assert Grid.unsigned(bits) == Grid(0, 2**bits - 1, 0.0)
    assert Grid.unsigned(bits).max_level == 2**bits - 1


@given(st.integers(2, 8))
def test_midrise_is_for_few_bits(bits):
    assert Grid.signed(bits) == Grid.signed(bits, "midrise" if bits <= 3 else "midtread")


# --- marks ---------------------------------------------------------------------------------------


def marked() -> torch.Tensor:
    return attach_quant_params(torch.ones(4, 4), CODING)


def test_a_mark_is_found_on_the_tensor_itself():
    tensor = torch.ones(3)
    assert quant_params_of(tensor) is None
    assert attach_quant_params(tensor, CODING) is tensor
    assert quant_params_of(tensor) is CODING


OPERATIONS = {
    "sum": lambda x: x + 0,
    "product": lambda x: x * 2,
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "view": lambda x: x.view(2, 8),
    "row": lambda x: x[0],
    "transpose": lambda x: x.t(),
    "stack": lambda x: torch.cat([x, x]),
    "double": lambda x: x.double(),
    "relu": torch.relu,
    "dropout": lambda x: nn.functional.dropout(x, 0.5),
    "parameter": nn.Parameter,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_drops_the_mark(operation):
    tensor = marked()
    assert quant_params_of(operation(tensor)) is None
    assert quant_params_of(tensor) is CODING


@pytest.mark.parametrize("name", ["add_", "mul_", "fill_"])
def test_a_change_in_place_drops_the_mark_too(name):
    tensor = marked()
    getattr(tensor, name)(2)
    assert quant_params_of(tensor) is None


@pytest.mark.parametrize("same", ["contiguous", "float", "cpu", "requires_grad_"])
def test_what_returns_the_tensor_itself_keeps_the_mark(same):
    tensor = marked()
    assert getattr(tensor, same)() is tensor
    assert quant_params_of(tensor) is CODING


def test_a_copy_has_no_wrong_mark():
    tensor = marked()
    tensor.mul_(2)
    assert quant_params_of(copy.deepcopy(tensor)) is None


def test_a_mark_holds_no_graph():
    scale = torch.tensor(0.5, requires_grad=True)
    found = quant_params_of(fake_quantize(torch.ones(3), scale * 1.0, Grid.signed(4)))
    assert found.scale.grad_fn is None
    assert not found.scale.requires_grad


def test_values_that_are_not_clipped_get_no_mark():
    """Their codes may be any whole numbers."""
    result = fake_quantize(torch.ones(3), torch.tensor(0.5), Grid.signed(4), clip=False)
    assert quant_params_of(result) is None


@given(st.integers(1, 8) | st.just(1.6), st.booleans(), st.integers(0, 99))
def test_a_mark_says_the_truth(bits, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(5, 7, generator=generator)
    scale = torch.rand((5, 1) if channels else (), generator=generator) + 0.1
    result = fake_quantize(values, scale, Grid.signed(bits))
    found = quant_params_of(result)
    codes = (result / found.scale - found.grid.offset).round()
    assert torch.equal((codes + found.grid.offset) * found.scale, result)
    assert found.grid.qmin <= int(codes.min()) <= int(codes.max()) <= found.grid.qmax


def test_a_stale_factor_is_not_used():
    """What a layer does with inputs that were scaled after they were quantized."""
    inputs = fake_quantize(torch.randn(3, 5), torch.tensor(0.1), Grid.signed(8))
    weight = fake_quantize(torch.randn(4, 5), torch.tensor(0.2), Grid.signed(4))
    torch.testing.assert_close(linear(inputs * 0.37, weight, None), 0.37 * inputs @ weight.t())


# --- values --------------------------------------------------------------------------------------


def test_a_spec_clips_and_masks_unless_told_otherwise():
    spec = QuantSpec(Grid.unsigned(4))
    assert (spec.clip, spec.masked) == (True, True)


@pytest.mark.parametrize("value", [Grid.signed(4), CODING, QuantSpec(Grid.signed(4))])
def test_they_do_not_change(value):
    name = "low" if isinstance(value, Grid) else "grid"
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)
