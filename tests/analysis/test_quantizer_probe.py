"""Probes against gradients and rounding errors that are computed by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.analysis.probed_model import ProbedModel, build_probed_model
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Search, Space
from autoquant.space.search_space import build_space, uniform_plan
from autoquant.training.candidate import StartingPoint
from tests.toys import RegressionTask, described, example_of, stack

CHOICES = Space(weight_bits=(2, 4, 8), activation_bits=(4, 8, 16))


def probed(model: nn.Module, inputs: Tensor, weight_bits: int, bits: int) -> ProbedModel:
    ready = prepare(model).eval()
    network = described(ready, inputs)
    settings = Search(space=CHOICES)
    point = StartingPoint(RegressionTask(ready, inputs), ready, network, settings)
    space = build_space(network, (), CHOICES)
    reference = uniform_plan(space, network, LayerChoice(weight_bits, bits))
    return build_probed_model(point, space, reference)


def test_estimates_are_half_the_sum_of_squares_of_gradient_times_error() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(5, 3, 6)
    found = probed(nn.Sequential(nn.Linear(6, 4)), inputs, 4, 8)
    weights, activations = found.probes
    ends = [end for probe in found.probes for end in probe.watch()]
    found.model(inputs).square().mean().backward()
    for end in ends:
        end()

    layer = found.model[0]
    rounded_inputs = activations.slots[0].quantizers[8](inputs).detach().requires_grad_()
    rounded = weights.slots[0].quantizers[4](layer.parametrizations.weight.original)
    rounded = rounded.detach().requires_grad_()
    F.linear(rounded_inputs, rounded, layer.bias).square().mean().backward()
    for probe, values, grad in (
        (weights, layer.parametrizations.weight.original, rounded.grad),
        (activations, inputs, rounded_inputs.grad),
    ):
        probe.end_pass()
        assert grad is not None
        for index, choice in enumerate(probe.choices):
            error = probe.slots[0].quantizers[choice](values) - values
            expected = (grad * error).square().sum() / 2
            torch.testing.assert_close(probe.batches[0][index], expected.detach())


def test_a_choice_is_put_in_place() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(5, 3, 6)
    found = probed(nn.Sequential(nn.Linear(6, 4)), inputs, 4, 8)
    weights, activations = found.probes
    before = found.model(inputs)
    weights.put(2)
    activations.put(4)
    assert found.model[0].weight.unique(dim=1).shape[1] <= 6
    assert max(len(row.unique()) for row in found.model[0].weight) <= 4
    assert not torch.equal(found.model(inputs), before)
    weights.put(4)
    activations.put(8)
    assert torch.equal(found.model(inputs), before)


def test_scales_are_those_of_calibration() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(5, 3, 6).abs()
    activations = probed(nn.Sequential(nn.Linear(6, 4)), inputs, 4, 8).probes[1]
    quantizer = ActivationQuantizer(4, Search().quantizer)
    for _ in range(8):
        quantizer(inputs)
    quantizer.finish()
    assert torch.equal(activations.slots[0].quantizers[4](inputs), quantizer(inputs))


def test_weights_of_both_directions_and_the_hidden_state() -> None:
    model = stack(bidirectional=True)
    probes = {p.dimension.name: p for p in probed(model, *example_of(model), 4, 8).probes}
    assert len(probes["rnn.l0.weight_bits"].slots) == 2
    assert len(probes["rnn.l0.recurrent_bits"].slots) == 2
    assert [name for name, probe in probes.items() if probe.is_hidden] == ["rnn.l0.hidden_bits"]
