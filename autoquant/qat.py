"""From a float model and a plan to a fake-quantized model, ready to train."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from autoquant.graph import Network
from autoquant.layers import LayerSpec
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer
from autoquant.plan import LayerChoice, Plan
from autoquant.quantizer import ActivationQuantizer, WeightQuantizer, mean_magnitude
from autoquant.settings import Scheme
from autoquant.task import Task
from autoquant.widen import Method, check_same_function, widen

CALIBRATION_BATCHES = 8


def build_candidate(
    model: nn.Module,
    network: Network,
    plan: Plan,
    scheme: Scheme,
    task: Task,
    *,
    method: Method,
    seed: int,
) -> nn.Module:
    """A prepared float model, widened, fake-quantized and calibrated; on the model's device.

    Raises:
        UserError: the plan does not fit the network.
        RunError: widening changed the function.
    """
    candidate, grown = widen(model, network, plan, scheme, method, seed)
    if grown.layers != network.layers:
        check_same_function(model, candidate, task.example().inputs)
    quantize(candidate, grown, plan, scheme)
    calibrate(candidate, task, seed)
    return candidate


def quantize(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> None:
    """Put quantizers on the parameters and activations of a model at the plan's widths, in place.

    Parameters get a parametrization, layer inputs a forward pre-hook, hidden states a quantizer
    inside the recurrence.
    """
    for layer in network.layers:
        module, choice = model.get_submodule(layer.name), plan[layer.name]
        for parameter in layer.parameters:
            bits = scheme.bias_bits if parameter.role == "bias" else choice.bits_of(parameter.role)
            weight = getattr(module, parameter.name)
            if bits < 32 or scheme.reparametrization != "none":
                quantizer = WeightQuantizer(weight, bits, scheme).to(weight.device)
                parametrize.register_parametrization(module, parameter.name, quantizer)
        if scheme.joint_recurrent and layer.recurrent:
            module.register_forward_pre_hook(share_magnitude)
        attach_activation_quantizers(module, layer, choice, scheme)


def attach_activation_quantizers(
    module: nn.Module, layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> None:
    """Quantize a layer's input, and its hidden state if it has one."""
    device = next(module.parameters()).device
    if layer.multiplies and choice.activation_bits < 32:
        quantizer = ActivationQuantizer(choice.activation_bits, scheme).to(device)
        module.input_quantizer = quantizer
        module.register_forward_pre_hook(_quantize_input)
    if layer.recurrent and choice.state_bits < 32:
        module.hidden_quantizer = ActivationQuantizer(choice.state_bits, scheme).to(device)


def _quantize_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    quantizer: nn.Module = module.input_quantizer  # type: ignore[assignment]
    return (quantizer(args[0]), *args[1:])


def share_magnitude(module: nn.Module, args: tuple[Any, ...] = ()) -> None:
    """Give the input and recurrent weights of a direction one mean|W| (Bit-RNN).

    A forward pre-hook of recurrent layers under ``scheme.joint_recurrent``.
    """
    assert isinstance(module, RecurrentLayer)
    for suffix in SUFFIXES[: module.directions]:
        held = [module.parametrizations[f"weight_{part}{suffix}"] for part in ("ih", "hh")]  # type: ignore[index]
        weights = [each[0].effective(each.original) for each in held]
        magnitude = mean_magnitude(*weights).detach()
        for each in held:
            each[0].magnitude = magnitude


@torch.no_grad()
def calibrate(model: nn.Module, task: Task, seed: int) -> None:
    """Let activation quantizers see some training batches, then set their step sizes."""
    quantizers = [each for each in model.modules() if isinstance(each, ActivationQuantizer)]
    if not quantizers:
        return
    training = model.training
    model.eval()
    carry = None
    with parametrize.cached():
        for batch in islice(task.batches(seed), CALIBRATION_BATCHES):
            _, carry = task.loss(model, batch, carry)
    for quantizer in quantizers:
        quantizer.finish()
    model.train(training)
