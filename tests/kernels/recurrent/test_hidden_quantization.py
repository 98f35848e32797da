"""Quantization by hand against fake_quantize and autograd."""

import pytest
import torch

from autoquant.kernels.recurrent.hidden_quantization import HiddenQuantizer
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.quantization.codes import Grid, QuantSpec
from autoquant.quantization.fake_quantize import fake_quantize

GRIDS = {
    "signed": Grid.signed(3, "midtread"),
    "half-steps": Grid.signed(2, "midrise"),
    "unsigned": Grid.unsigned(3),
}
HOW = {"masked": (True, True), "unmasked": (True, False), "unclipped": (False, False)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_same_numbers_and_gradients(grid, how, dtype):
    torch.manual_seed(0)
    steps = PackedBatch((4, 3, 3, 1))
    exact = torch.randn(11, 6, dtype=dtype, requires_grad=True)
    scale = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    clip, masked = how
    pieces = steps.split(exact)
    rounded = torch.cat(
        [fake_quantize(each, scale, grid, clip=clip, masked=masked) for each in pieces]
    )
    grad = torch.randn_like(rounded)
    by_values, by_scale = torch.autograd.grad(rounded, (exact, scale), grad)

    quantizer = HiddenQuantizer(QuantSpec(grid, clip, masked), scale.detach())
    values = exact.detach().clone()
    quantizer.quantize_(values)
    assert torch.equal(values, rounded)
    inside = quantizer.inside(exact.detach(), values)
    assert (inside is None) is not masked
    assert torch.equal(grad if inside is None else grad * inside, by_values)
    ours = quantizer.scale_gradient(grad, exact.detach(), values, inside, steps)
    torch.testing.assert_close(ours, by_scale)


def test_without_a_spec_nothing_is_quantized():
    assert HiddenQuantizer.of(None, None) is None


def test_a_spec_says_how():
    spec, scale = QuantSpec(Grid.unsigned(2), clip=False, masked=False), torch.tensor(0.5)
    assert HiddenQuantizer.of(spec, scale) == HiddenQuantizer(spec, scale)
