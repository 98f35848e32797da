"""Quantizers against literal transcriptions of their papers and against autograd."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from autoquant.backend import Compute, computing
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.quantization.fake_quantize import (
    WeightQuantizer,
    fake_quantize,
)
from autoquant.quantization.scale_rules import mean_magnitude, mse_scale
from autoquant.quantization.storage import SCALE_TYPES, cast, restore_scale, store_scale
from autoquant.settings import Scheme

CODE_BITS = range(1, 9)
GRIDS = {
    **{f"midrise{bits}": Grid.signed(bits, "midrise") for bits in CODE_BITS},
    **{f"midtread{bits}": Grid.signed(bits, "midtread") for bits in CODE_BITS[1:]},
    **{f"unsigned{bits}": Grid.unsigned(bits) for bits in CODE_BITS[1:]},
    "three levels": Grid.signed(1.6),
}
EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
PLAIN = Scheme()
BIT_RNN = Scheme.bit_rnn()


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- grids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_two_to_the_bits_levels(name):
    grid = GRIDS[name]
    assert grid.qmax - grid.qmin + 1 == (3 if name == "three levels" else 1 << int(name[-1]))
    levels = [code + grid.offset for code in range(grid.qmin, grid.qmax + 1)]
    assert grid.max_level == max(abs(level) for level in levels)


@pytest.mark.parametrize("bits", CODE_BITS)
def test_midrise_levels_are_symmetric_without_zero(bits):
    grid = Grid.signed(bits, "midrise")
    levels = [code + grid.offset for code in range(grid.qmin, grid.qmax + 1)]
    assert levels == [-level for level in reversed(levels)]
    assert 0 not in levels


@pytest.mark.parametrize("bits", CODE_BITS)
def test_auto_spends_no_level_on_zero_up_to_three_bits(bits):
    assert Grid.signed(bits).offset == (0.5 if bits <= 3 else 0.0)


def test_one_bit_is_always_midrise():
    assert Grid.signed(1, "midtread") == Grid(-1, 0, 0.5)


# --- encode and decode ---------------------------------------------------------------------------


@EVERY_GRID
@given(exponent=st.floats(-30, 30), bfloat=st.booleans())
def test_every_code_survives_decoding(grid, exponent, bfloat):
    scale = torch.tensor(2.0**exponent)
    scale = scale.bfloat16().float() if bfloat else scale
    codes = torch.arange(grid.qmin, grid.qmax + 1, dtype=torch.float32)
    values = decode(codes, scale, grid)
    assert torch.equal(encode(values, scale, grid), codes)
    assert torch.equal(decode(encode(values, scale, grid), scale, grid), values)


@EVERY_GRID
def test_codes_are_the_nearest_levels(grid):
    values = 3 * grid.max_level * randn(500, dtype=torch.float64)
    scale = torch.tensor(0.7, dtype=torch.float64)
    codes = torch.arange(grid.qmin, grid.qmax + 1, dtype=torch.float64)
    levels = (codes + grid.offset) * scale
    nearest = (values[:, None] - levels).abs().amin(1)
    ours = (values - decode(encode(values, scale, grid), scale, grid)).abs()
    torch.testing.assert_close(ours, nearest, rtol=0, atol=1e-12)


def test_without_clipping_codes_leave_the_grid():
    codes = encode(torch.tensor([-3.0, 300.0]), torch.tensor(1.0), Grid.unsigned(4), clip=False)
    assert codes.tolist() == [-3.0, 300.0]


def test_encode_and_decode_leave_their_arguments_alone():
    values, scale, grid = randn(50), torch.tensor(0.3), Grid.signed(3)
    before = values.clone()
    codes = encode(values, scale, grid)
    kept = codes.clone()
    decode(codes, scale, grid)
    assert torch.equal(values, before)
    assert torch.equal(codes, kept)


# --- fake quantization: gradients of LSQ ---------------------------------------------------------


def straight_through(value: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Forward ``result``, backward the identity of ``value``."""
    return value + (result - value).detach()


def composed(
    values: torch.Tensor, scale: torch.Tensor, grid: Grid, *, clip: bool, masked: bool
) -> torch.Tensor:
    """Fake quantization of differentiable parts; only rounding is straight-through."""
    steps = values / scale - grid.offset
    codes = straight_through(steps, steps.round())
    if clip:
        clipped = codes.clamp(grid.qmin, grid.qmax)
        codes = clipped if masked else straight_through(codes, clipped)
    return scale * (codes + grid.offset)


@EVERY_GRID
@pytest.mark.parametrize(
    ("clip", "masked"),
    [(True, True), (True, False), (False, True)],
    ids=["clip-masked", "clip-passed", "no-clip"],
)
@pytest.mark.parametrize(
    "shape", [(6, 1), (1, 1), ()], ids=["scale-a-row", "scale-a-tensor", "scalar"]
)
def test_gradients_equal_autograd(grid, clip, masked, shape):
    values = 2 * grid.max_level * randn(6, 40, dtype=torch.float64)
    scale = 1 + randn(*shape, seed=1, dtype=torch.float64).abs()
    upstream = randn(6, 40, seed=2, dtype=torch.float64)
    results = []
    for function in (composed, fake_quantize):
        inputs = values.clone().requires_grad_(), scale.clone().requires_grad_()
        result = function(*inputs, grid, clip=clip, masked=masked)
        results.append((result, *torch.autograd.grad(result, inputs, upstream)))
    (expected, to_values, to_scale), (ours, our_values, our_scale) = results
    factor = 1 / math.sqrt(values.numel() / scale.numel() * grid.max_level)  # LSQ, section 2.2
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(our_values, to_values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(our_scale, to_scale * factor, rtol=1e-9, atol=1e-12)
    if clip and masked:  # the case is not empty: some values are clipped, some are not
        assert 0 < int((our_values == 0).sum()) < values.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kernel", ["auto", "torch"])
@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_a_gradient_that_is_not_finite_stops_where_values_are_clipped(bad, kernel, dtype):
    scale = torch.tensor([[0.5], [0.25]], dtype=dtype, requires_grad=True)
    values = torch.full((2, 40), 0.7, dtype=dtype)
    values[0, ::3], values[0, 1] = 9.0, math.inf
    values.requires_grad_()
    grad = torch.where(values > 1, bad, 1.0)
    with computing(Compute(kernel=kernel)):
        outputs = fake_quantize(values, scale, Grid.signed(3, "midtread"))
        by_values, by_scale = torch.autograd.grad(outputs, (values, scale), grad)
    assert torch.equal(by_values, (values <= 1).to(dtype))
    assert by_scale.isfinite().flatten().tolist() == [False, True]


def test_a_scale_without_gradient_gets_none():
    values, scale = randn(5, 5).requires_grad_(), torch.tensor(0.2)
    fake_quantize(values, scale, Grid.signed(4)).sum().backward()
    assert values.grad is not None
    assert scale.grad is None


@pytest.mark.parametrize("bits", CODE_BITS)
def test_training_and_packing_see_the_same_values(bits):
    """No estimator of the form w + (q - w).detach(): that is not bit-equal to q."""
    values, grid = randn(40, 60), Grid.signed(bits)
    scale = mse_scale(values, grid, per_channel=True)
    assert torch.equal(
        fake_quantize(values, scale, grid), decode(encode(values, scale, grid), scale, grid)
    )


# --- narrower floats -----------------------------------------------------------------------------


def test_cast_to_half_precision():
    values = torch.tensor([0.1, 1e6, -1e6, math.inf, 65519.0, 1e-9])
    expected = torch.tensor([float(np.float16(0.1)), 65504, -65504, 65504, 65504, 0.0])
    assert torch.equal(cast(values, 16), expected)


def test_cast_of_a_step_size_is_bfloat16():
    values = torch.tensor([0.1, 1e-12, 1e30])
    result = cast(values, 16, SCALE_TYPES)
    assert torch.equal(result, values.bfloat16().float())
    assert not torch.equal(result, values)


def test_cast_passes_the_gradient():
    values = torch.tensor([0.1, 1e6], requires_grad=True)
    (cast(values, 16) * torch.tensor([2.0, 3.0])).sum().backward()
    assert values.grad.tolist() == [2.0, 3.0]


def test_cast_to_32_bits_changes_nothing():
    values = randn(4)
    assert cast(values, 32) is values


# --- step sizes ----------------------------------------------------------------------------------


def error_of(rows: torch.Tensor, scale: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (decode(encode(rows, scale, grid), scale, grid) - rows).square().mean(1)


def least_error(rows: torch.Tensor, grid: Grid, steps: int = 600) -> torch.Tensor:
    """The smallest error of each row over a fine grid of step sizes."""
    widest = rows.abs().amax(1, keepdim=True) / grid.max_level
    shares = torch.linspace(0.03, 1.5, steps)
    return torch.stack([error_of(rows, widest * share, grid) for share in shares]).amin(0)


def samples(law: str, *shape: int) -> torch.Tensor:
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    if law == "uniform":
        return uniform * 2 - 1
    if law == "laplace":
        return torch.distributions.Laplace(0, 1).icdf(uniform * 0.9998 + 0.0001)
    return randn(*shape, seed=3)


LAWS = pytest.mark.parametrize("law", ["normal", "uniform", "laplace"])


@LAWS
@pytest.mark.parametrize("bits", CODE_BITS, ids=lambda bits: f"{bits}bit")
def test_mse_scale_of_a_tensor_is_within_a_percent_of_the_best(law, bits):
    values, grid = samples(law, 60, 100), Grid.signed(bits)
    scale = mse_scale(values, grid, per_channel=False)
    assert scale.shape == (1, 1)
    rows = values.reshape(1, -1)
    assert float(error_of(rows, scale, grid)) <= 1.01 * float(least_error(rows, grid))


@LAWS
@pytest.mark.parametrize("bits", CODE_BITS, ids=lambda bits: f"{bits}bit")
def test_mse_scale_of_channels_is_near_the_best(law, bits):
    """Within 1% on average; in a short row of fine codes the error is jagged: 3% above 5 bits."""
    values, grid = samples(law, 20, 300), Grid.signed(bits)
    values = values * torch.logspace(-2, 2, 20)[:, None]
    scale = mse_scale(values, grid, per_channel=True)
    assert scale.shape == (20, 1)
    ratio = error_of(values, scale, grid) / least_error(values, grid, 400)
    assert float(ratio.mean()) <= (1.01 if bits <= 5 else 1.03)


@LAWS
@pytest.mark.parametrize("bits", [2, 3, 4], ids=lambda bits: f"{bits}bit")
def test_mse_scale_of_a_lopsided_grid(law, bits):
    """A midtread grid reaches one step less up than down; the best step is beyond the largest."""
    values, grid = samples(law, 1, 6000), Grid.signed(bits, "midtread")
    scale = mse_scale(values, grid, per_channel=False)
    assert float(error_of(values, scale, grid)) <= 1.01 * float(least_error(values, grid))


def test_mse_scale_of_an_unsigned_grid():
    values, grid = samples("normal", 1, 5000).relu(), Grid.unsigned(4)
    scale = mse_scale(values, grid, per_channel=False)
    assert float(error_of(values, scale, grid)) <= 1.01 * float(least_error(values, grid))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (7,)], ids=str)
def test_mse_scale_broadcasts_against_its_values(shape):
    values = randn(*shape)
    assert mse_scale(values, Grid.signed(4), per_channel=False).shape == (1,) * len(shape)
    if len(shape) > 1:
        expected = (shape[0], *[1] * (len(shape) - 1))
        assert mse_scale(values, Grid.signed(4), per_channel=True).shape == expected


@EVERY_GRID
def test_mse_scale_of_nothing_but_zeros_is_finite(grid):
    values = torch.stack([torch.zeros(50), randn(50).abs()])
    scale = mse_scale(values, grid, per_channel=True)
    assert bool((scale > 0).all())
    assert bool(torch.isfinite(scale).all())
    assert float(decode(encode(values, scale, grid), scale, grid)[0].abs().max()) < 1e-11


def test_mean_magnitude_weighs_by_count():
    one, other = randn(3, 4), 5 * randn(7, 2, seed=1)
    expected = np.abs(np.concatenate([one.numpy().ravel(), other.numpy().ravel()])).mean()
    assert float(mean_magnitude(one, other)) == pytest.approx(expected, rel=1e-6)


# --- weights: Bit-RNN (He et al. 2016) -----------------------------------------------------------


def bit_rnn(V: np.ndarray, k: int) -> np.ndarray:
    """W = tanh(V), s = 2.5 * mean|W|, 2**k levels of [-s/2, s/2]; in float64."""
    W = np.tanh(V)
    s = 2.5 * np.mean(np.abs(W))
    n = 2**k - 1
    return s * (np.round(n * (np.clip(W / s, -1 / 2, 1 / 2) + 1 / 2)) / n - 1 / 2)


@pytest.mark.parametrize("k", CODE_BITS, ids=lambda k: f"{k}bit")
def test_bit_rnn_weights(k):
    V = 0.4 * randn(30, 20, seed=k)
    quantizer = WeightQuantizer(V, k, BIT_RNN)
    expected = bit_rnn(V.numpy().astype(np.float64), k)
    np.testing.assert_allclose(quantizer(V).numpy(), expected, rtol=0, atol=1e-6)
    assert len(np.unique(quantizer(V).numpy())) <= 2**k
    assert not list(quantizer.parameters())  # the scale is not learned


def test_bit_rnn_at_two_bits_has_the_levels_of_the_paper():
    V = 0.4 * randn(100, 100)
    s = 2.5 * float(V.tanh().abs().mean())
    levels, counts = torch.unique(WeightQuantizer(V, 2, BIT_RNN)(V), return_counts=True)
    expected = s * torch.tensor([-1 / 2, -1 / 6, 1 / 6, 1 / 2])
    torch.testing.assert_close(levels, expected, rtol=1e-5, atol=0)
    assert bool(((counts / V.numel() - 0.25).abs() < 0.05).all())  # balanced bins


def test_bit_rnn_applies_tanh_at_any_bits():
    V = randn(30, 20)
    assert torch.equal(WeightQuantizer(V, 32, BIT_RNN)(V), V.tanh())
    assert torch.equal(WeightQuantizer(V, 16, BIT_RNN)(V), V.tanh().half().float())


@pytest.mark.parametrize("k", CODE_BITS, ids=lambda k: f"{k}bit")
def test_bit_rnn_gradient_passes_rounding_and_clipping_but_not_the_scale(k):
    V = (2 * randn(30, 20, dtype=torch.float64)).requires_grad_()
    upstream = randn(30, 20, seed=1, dtype=torch.float64)
    quantizer = WeightQuantizer(V.detach(), k, BIT_RNN)
    quantizer(V).backward(upstream)
    expected = upstream * (1 - V.detach().tanh() ** 2)
    torch.testing.assert_close(V.grad, expected, rtol=1e-12, atol=1e-14)
    clipped = V.detach().tanh().abs() > 1.25 * V.detach().tanh().abs().mean()
    assert bool(clipped.any())
    assert bool((V.grad[clipped] != 0).all())


def test_bit_rnn_with_a_shared_mean():
    V = 0.4 * randn(30, 20)
    quantizer = WeightQuantizer(V, 3, BIT_RNN)
    quantizer.magnitude = torch.tensor(0.1, requires_grad=True)
    W, s, n = np.tanh(V.numpy().astype(np.float64)), 2.5 * 0.1, 7
    expected = s * (np.round(n * (np.clip(W / s, -1 / 2, 1 / 2) + 1 / 2)) / n - 1 / 2)
    result = quantizer(V)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-6)
    assert not result.requires_grad  # nothing reaches the mean


# --- weights: learned step sizes -----------------------------------------------------------------


@pytest.mark.parametrize("scale_bits", [16, 32])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_learned_step_sizes_start_at_the_mse_optimum(granularity, scale_bits):
    weight, scheme = randn(8, 30), Scheme(granularity=granularity, scale_bits=scale_bits)
    quantizer = WeightQuantizer(weight, 4, scheme)
    best = mse_scale(weight, Grid.signed(4), per_channel=granularity == "channel")
    scale = quantizer.scale(weight)
    assert scale.shape == best.shape
    torch.testing.assert_close(scale, best, rtol=2**-8 if scale_bits == 16 else 1e-5, atol=0)
    stored = scale.to(SCALE_TYPES[scale_bits]).float()
    assert torch.equal(scale, stored)  # what the file keeps is what training saw


def test_training_sees_step_sizes_of_8_bits_as_they_are_stored():
    weight, scheme = randn(8, 30), Scheme(scale_bits=8)
    quantizer = WeightQuantizer(weight, 4, scheme)
    scale = quantizer.scale(weight)
    assert torch.equal(restore_scale(store_scale(scale, 8)).view(8, 1), scale)
    best = mse_scale(weight, Grid.signed(4), per_channel=True)
    torch.testing.assert_close(scale, best, rtol=0.022, atol=0)
    upstream = randn(8, 30, seed=1)
    quantizer(weight).backward(upstream)
    expected = scale.detach().clone().requires_grad_()
    fake_quantize(weight, expected, Grid.signed(4)).backward(upstream)
    exact = quantizer.log_scale.exp().detach()  # what rounds passes the gradient on unchanged
    torch.testing.assert_close(quantizer.log_scale.grad, expected.grad * exact)


def test_a_single_step_size_is_bfloat16_with_scale_bits_8():
    for weight, granularity in ((randn(8, 30), "tensor"), (randn(30), "channel")):
        scheme = Scheme(scale_bits=8, granularity=granularity)
        scale = WeightQuantizer(weight, 4, scheme).scale(weight)
        stored = store_scale(scale, 8)
        assert (stored.dtype, stored.shape) == (torch.bfloat16, (1,))
        assert torch.equal(restore_scale(stored), scale.reshape(-1))


@pytest.mark.parametrize(("scale", "learns"), [("learned", True), ("fixed", False)])
def test_only_learned_step_sizes_learn(scale, learns):
    quantizer = WeightQuantizer(randn(4, 5), 4, Scheme(scale=scale))
    assert quantizer.log_scale.requires_grad is learns


def test_the_logarithm_of_the_step_size_gets_the_gradient():
    weight = randn(8, 30)
    quantizer = WeightQuantizer(weight, 3, Scheme(scale_bits=32))
    upstream = randn(8, 30, seed=1)
    quantizer(weight).backward(upstream)
    log_scale = quantizer.log_scale.detach().clone().requires_grad_()
    composed(weight, log_scale.exp(), Grid.signed(3), clip=True, masked=True).backward(upstream)
    expected = log_scale.grad / math.sqrt(30 * 3.5)
    torch.testing.assert_close(quantizer.log_scale.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bits", CODE_BITS, ids=lambda bits: f"{bits}bit")
def test_a_weight_takes_at_most_two_to_the_bits_values_a_row(bits):
    weight = randn(4, 2000)
    result = WeightQuantizer(weight, bits, PLAIN)(weight)
    assert all(len(row.unique()) <= 2**bits for row in result)


@pytest.mark.parametrize(
    "scheme",
    [
        PLAIN,
        Scheme(granularity="tensor"),
        Scheme(scale="fixed", grid="midrise"),
        Scheme(grid="midtread"),
        BIT_RNN,
    ],
    ids=["channel", "tensor", "fixed-midrise", "midtread", "bit-rnn"],
)
@pytest.mark.parametrize("bits", [1, 2, 4, 8], ids=lambda bits: f"{bits}bit")
@pytest.mark.parametrize("empty_rows", [1, 4], ids=["a-zero-channel", "all-zero"])
def test_zeros_give_neither_nan_nor_inf(scheme, bits, empty_rows):
    weight = randn(4, 30)
    weight[:empty_rows] = 0
    quantizer = WeightQuantizer(weight, bits, scheme)
    parameter = quantizer.right_inverse(weight).requires_grad_()
    result = quantizer(parameter)
    result.square().sum().backward()
    assert bool(torch.isfinite(result).all())
    assert all(
        bool(torch.isfinite(p.grad).all())
        for p in [parameter, *quantizer.parameters()]
        if p.requires_grad
    )


def test_a_vector_has_one_step_size():
    bias = randn(12)
    quantizer = WeightQuantizer(bias, 8, PLAIN)
    assert quantizer.log_scale.shape == (1,)
    assert bool(((quantizer(bias) - bias).abs() <= quantizer.scale(bias)).all())


def test_sixteen_bits_are_half_precision_without_a_step_size():
    weight = torch.tensor([[0.1, 1e6]])
    quantizer = WeightQuantizer(weight, 16, PLAIN)
    assert quantizer(weight).tolist() == [[float(np.float16(0.1)), 65504.0]]
    assert not quantizer.state_dict()


def test_as_a_parametrization_the_weight_stays_near():
    layer = nn.Linear(30, 8)
    before = layer.weight.detach().clone()
    quantizer = WeightQuantizer(before, 8, PLAIN)
    parametrize.register_parametrization(layer, "weight", quantizer)
    assert torch.equal(layer.parametrizations.weight.original, before)
    assert torch.equal(layer.weight, quantizer(before))
    assert bool(((layer.weight - before).abs() <= quantizer.scale(before)).all())


def test_tanh_is_undone_when_it_is_put_on():
    scheme = Scheme(reparametrization="tanh")
    weight = torch.tensor([[-0.9, -1e-3, 0.0, 0.5, 0.999]])
    quantizer = WeightQuantizer(weight, 32, scheme)
    torch.testing.assert_close(quantizer(quantizer.right_inverse(weight)), weight)
    beyond = quantizer.right_inverse(torch.tensor([[1.5, -2.0]]))
    assert bool(torch.isfinite(beyond).all())
    torch.testing.assert_close(quantizer(beyond), torch.tensor([[1.0, -1.0]]), rtol=0, atol=1e-5)


def test_weight_state_round_trip():
    weight = randn(8, 30)
    trained = WeightQuantizer(weight, 4, PLAIN)
    with torch.no_grad():
        trained.log_scale.add_(0.3 * randn(8, 1))
    fresh = WeightQuantizer(torch.ones(8, 30), 4, PLAIN)
    assert not torch.equal(fresh(weight), trained(weight))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(weight), trained(weight))


# --- activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [2, 3, 4, 5, 6, 7, 8], ids=lambda f: f"{f}bit")
def test_bit_rnn_activations(f):
    """A(x) = round((2**f - 1) x) / (2**f - 1), not clipped."""
    x = randn(1000, seed=f).requires_grad_()
    quantizer = ActivationQuantizer(f, BIT_RNN)
    result = quantizer(x)
    n = 2**f - 1
    expected = np.round(n * x.detach().numpy().astype(np.float64)) / n
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=0, atol=1e-5)
    assert float(result.detach().max()) > 1  # nothing is clipped
    assert float(result.detach().min()) < 0
    upstream = randn(1000, seed=1)
    result.backward(upstream)
    assert torch.equal(x.grad, upstream)
    assert not any(p.requires_grad for p in quantizer.parameters())


def calibrated(bits: int, *batches: torch.Tensor, scheme: Scheme = PLAIN) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(bits, scheme)
    for batch in batches:
        assert quantizer(batch) is batch  # while it observes
    quantizer.finish()
    return quantizer


@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda bits: f"{bits}bit")
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_calibration_finds_the_grid_and_the_step(bits, signed):
    batches = [randn(20, 50, seed=seed) for seed in range(3)]
    if not signed:
        batches = [batch.relu() for batch in batches]
    quantizer = calibrated(bits, *batches)
    grid = Grid.signed(bits, "midtread") if signed else Grid.unsigned(bits)
    assert quantizer.grid == grid
    assert int(quantizer.qmin) == grid.qmin
    together = torch.cat([batch.flatten() for batch in batches])
    best = mse_scale(together[None], grid, per_channel=False)
    assert float(quantizer.scale().detach()) == pytest.approx(float(best), rel=1e-5)
    result = quantizer(batches[0])
    assert torch.equal(result, fake_quantize(batches[0], quantizer.scale(), grid))
    assert (
        float(result.detach().abs().max())
        <= float(quantizer.scale().detach()) * grid.max_level * 1.00001
    )


def test_one_negative_value_makes_the_grid_signed():
    values = torch.ones(100)
    values[50] = -0.01
    assert calibrated(4, torch.ones(10), values).grid == Grid.signed(4, "midtread")


def test_calibration_on_zeros_is_finite():
    quantizer = calibrated(4, torch.zeros(100))
    assert bool(torch.isfinite(quantizer.log_scale))
    assert torch.equal(quantizer(torch.zeros(3)), torch.zeros(3))


def test_finish_without_anything_seen_leaves_a_working_quantizer():
    quantizer = calibrated(4)
    result = quantizer(torch.tensor([-2.0, 0.0, 0.3, 2.0]))
    torch.testing.assert_close(result, torch.tensor([-8.0, 0.0, 2.0, 7.0]) / 7, rtol=0.02, atol=0)


def test_only_a_sample_is_kept(monkeypatch):
    monkeypatch.setattr(ActivationQuantizer, "SAMPLE", 16)
    monkeypatch.setattr(ActivationQuantizer, "TENSORS", 4)
    quantizer = ActivationQuantizer(4, PLAIN)
    for _ in range(10):
        quantizer(torch.arange(100.0))
    kept = torch.cat(quantizer.observed)
    assert kept.numel() == 64
    assert kept.min() < 20 < 80 < kept.max()  # spread over the tensor
    assert len(set(kept[:16].tolist()) & set(kept[16:32].tolist())) < 16  # anew for each tensor


def test_an_activation_step_size_is_learned():
    x = randn(50, 40).relu()
    quantizer = calibrated(3, x)
    upstream = randn(50, 40, seed=1)
    quantizer(x).backward(upstream)
    log_scale = quantizer.log_scale.detach().clone().requires_grad_()
    composed(x, log_scale.exp(), Grid.unsigned(3), clip=True, masked=True).backward(upstream)
    expected = log_scale.grad / math.sqrt(x.numel() * 7)
    torch.testing.assert_close(quantizer.log_scale.grad, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("bits", [16, 32])
def test_wide_activations_are_casts_without_state(bits):
    quantizer = ActivationQuantizer(bits, PLAIN)
    x = torch.tensor([0.1, 1e6])
    assert torch.equal(quantizer(x), cast(x, bits))
    quantizer.finish()
    assert torch.equal(quantizer(x), cast(x, bits))
    assert not quantizer.state_dict()


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_restore_ends_observation(signed):
    source = calibrated(4, randn(500) if signed else randn(500).relu())
    restored = ActivationQuantizer(4, PLAIN)
    restored.restore(float(source.log_scale.detach()), int(source.qmin))
    x = 2 * randn(100, seed=5)
    assert torch.equal(restored(x), source(x))
    assert restored.grid == source.grid


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_activation_state_round_trip(signed):
    source = calibrated(4, randn(500) if signed else randn(500).relu())
    x = 2 * randn(100, seed=5)
    fresh = nn.ModuleDict({"inner": ActivationQuantizer(4, PLAIN)})
    fresh.load_state_dict({f"inner.{name}": value for name, value in source.state_dict().items()})
    assert torch.equal(fresh["inner"](x), source(x))
    assert torch.equal(copy.deepcopy(fresh)["inner"](x), source(x))
