"""What other kernels get wrong, met while measuring them: ours must not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoquant.backend import Compute, computing
from autoquant.kernels import linear
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.quantization.native import recurrences
from tests.quantization.native.machine import EVERY_SET, NEEDS_KERNELS, running_on, same_bits
from tests.quantization.native.recurrences import CELLS, made
from tests.toys import language_task, prepared

NATIVE = Compute(kernel="native")


def codes(grid: Grid, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(grid.qmin, grid.qmax + 1, shape, generator=generator).float()


def coded(values: Tensor, grid: Grid) -> Tensor:
    return attach_quant_params(values, QuantParams(torch.tensor(1.0), grid))


# --- aten::_weight_int8pack_mm crashes on a decoder of this size ---------------------------------


@NEEDS_KERNELS
@EVERY_SET
@pytest.mark.parametrize("rows", [1, 32])
def test_a_decoder_of_ten_thousand_words(rows, instructions):
    inputs, weight = Grid.unsigned(8), Grid.signed(8)
    x, w = codes(inputs, rows, 300), codes(weight, 10_000, 300, seed=1)
    with running_on(instructions), computing(NATIVE):
        ours = linear(coded(x, inputs), coded(w, weight), None)
    exact = x.numpy().astype(np.int64) @ w.numpy().astype(np.int64).T
    assert np.array_equal(ours.numpy().astype(np.int64), exact)


# --- 8-bit weights saturate on AVX2, signed activations are slow ---------------------------------


@NEEDS_KERNELS
@EVERY_SET
def test_signed_inputs_are_as_right_as_unsigned_ones(instructions):
    """The same numbers, once as signed codes and once as unsigned ones."""
    weight = Grid.signed(8)
    x, w = codes(Grid.unsigned(7), 9, 301), codes(weight, 40, 301, seed=1)
    with running_on(instructions), computing(NATIVE):
        results = [
            linear(coded(x.clone(), grid), coded(w, weight), None)
            for grid in (Grid.unsigned(7), Grid.unsigned(8), Grid.signed(8))
        ]
    assert same_bits(results[0], results[1])
    assert same_bits(results[1], results[2])


@NEEDS_KERNELS
@EVERY_SET
@pytest.mark.parametrize("cell", ["sigmoid-lstm", "rnn_relu"])
def test_a_signed_hidden_state_is_as_right_as_an_unsigned_one(cell, instructions):
    """Of cells whose hidden state is not negative, on grids with the same step and room above."""
    step, outputs = 1 / 25, []
    for signed in (False, True):
        plan = recurrences.Plan(cell, (5, 5, 3), units=33, hidden_bits=8, weight_bits=8)
        recurrence = made(plan)
        recurrence.hidden.restore(math.log(step), -128 if signed else 0)
        with torch.no_grad():
            recurrence.leaves["h"].abs_()
            recurrence.leaves["bias"].sub_(1.0)
        with running_on(instructions):
            outputs.append(recurrence.run().outputs.detach())
    assert outputs[0].max() < 127 * step
    assert same_bits(*outputs)


def seconds(call: Callable[[], object], rounds: int = 9) -> float:
    """The median of some calls."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]


@NEEDS_KERNELS
@pytest.mark.slow
@EVERY_SET
def test_signed_inputs_are_as_fast_as_unsigned_ones(instructions):
    weight = coded(codes(Grid.signed(8), 1200, 300), Grid.signed(8))
    times = []
    with running_on(instructions), torch.no_grad():
        for grid in (Grid.unsigned(8), Grid.signed(8)):
            inputs = coded(codes(grid, 64, 300), grid)
            times.append(seconds(lambda inputs=inputs: linear(inputs, weight, None)))
    assert times[1] < 1.5 * times[0]


# --- a fixed grid sends small hidden states to zero ----------------------------------------------


def candidate(cell: str) -> tuple[nn.Module, object]:
    """A language model as it starts: 4 bits, calibrated."""
    task = language_task(cell=cell, hidden=300, embedding=16)
    torch.manual_seed(0)
    model, network = prepared(task.build_model())
    plan = Plan.uniform(network.names, LayerChoice(4, 4))
    built = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    return built.train(), task


def hidden_quantizer(model: nn.Module) -> ActivationQuantizer:
    (found,) = [each for name, each in model.named_modules() if name.endswith("hidden_quantizer")]
    return found


def gradient_of_recurrent(model: nn.Module, task) -> tuple[float, float]:
    """Share of hidden codes that are not zero, and the size of the gradient of W_hh."""
    seen: list[Tensor] = []
    decoder = model.get_submodule("decoder")
    hook = decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    loss, _ = task.loss(model, next(task.batches(0)), None)
    hook.remove()
    model.zero_grad()
    loss.backward()
    (name,) = [
        name for name, _ in model.named_parameters() if "weight_hh" in name and "original" in name
    ]
    grad = model.get_parameter(name).grad
    return float((seen[0] != 0).float().mean()), 0.0 if grad is None else float(grad.norm())


@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_calibrated_hidden_state_is_not_all_zeros(cell, kernel):
    model, task = candidate(cell)
    with computing(Compute(kernel=kernel)):
        share, size = gradient_of_recurrent(model, task)
    assert share > 0.5
    assert size > 1e-6


@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_on_a_fixed_grid_it_would_be(kernel):
    """So that the test above can fail: this is what calibration saves it from."""
    model, task = candidate("lstm")
    hidden_quantizer(model).restore(math.log(1 / 7), -8)
    with computing(Compute(kernel=kernel)):
        share, size = gradient_of_recurrent(model, task)
    assert (share, size) == (0.0, 0.0)


def test_a_quantizer_chooses_a_step_for_what_it_sees():
    small = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 0.01
    quantizer = ActivationQuantizer(4, Scheme())
    quantizer(small)
    quantizer.finish()
    calibrated = (quantizer(small) != 0).float().mean()
    fixed = (fake_quantize(small, torch.tensor(1 / 7), Grid.signed(4)) != 0).float().mean()
    assert float(calibrated) > 0.7
    assert float(fixed) == 0.0


# --- a recurrent layer is no single operation whose weights stay float ---------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_are_on_their_grid(cell):
    recurrence = made(recurrences.Plan(cell, weight_bits=2))
    weight = recurrence.weights["recurrent"](recurrence.leaves["recurrent"])
    assert all(len(row.unique()) <= 4 for row in weight)
