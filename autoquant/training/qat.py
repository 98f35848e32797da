"""From a float model and a plan to a fake-quantized model, ready to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from autoquant.graph.network import Network
from autoquant.graph.reinit import redraw
from autoquant.graph.widen import check_same_function, widen
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.codes import attach_quant_params, quant_params_of
from autoquant.quantization.fake_quantize import ActivationQuantizer, WeightQuantizer
from autoquant.quantization.scale_rules import mean_magnitude
from autoquant.settings import Scheme
from autoquant.task import Task

CALIBRATION_BATCHES = 8


def build_candidate(
    model: nn.Module,
    network: Network,
    plan: Plan,
    scheme: Scheme,
    task: Task,
    *,
    method: str,
    seed: int,
    untrained: bool = False,
) -> nn.Module:
    """A prepared float model, widened, fake-quantized and calibrated; on the model's device.

    Args:
        untrained: whether grown weights are drawn anew instead of keeping a function that nobody
            has trained.

    Raises:
        UserError: the plan does not fit the network.
        RunError: widening changed the function.
    """
    way = "even" if untrained else method  # what the redrawing leaves: biases, sources of states
    candidate, grown = widen(model, network, plan, scheme, way, seed)
    if untrained:
        redraw(candidate, model, network, grown, seed)
    elif grown.layers != network.layers:
        check_same_function(model, candidate, task.example().inputs)
    quantize(candidate, grown, plan, scheme)
    calibrate(candidate, task, seed)
    return candidate


def quantize(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> None:
    """Put quantizers on the parameters and activations of a model at the plan's widths, in place.

    Parameters get a parametrization, layer inputs a forward pre-hook, hidden states a quantizer
    inside the recurrence.
    """
    plain = replace(scheme, reparametrization="none")  # biases may lie outside tanh's range
    for layer in network.layers:
        module, choice = model.get_submodule(layer.name), plan[layer.name]
        for parameter in layer.parameters:
            if parameter.shared:
                _share(model, module, parameter)
                continue
            bits = scheme.bits_of(parameter.role, choice)
            weight = getattr(module, parameter.name)
            looked_up = not layer.multiplies and bits == 32  # Bit-RNN's embedding has no tanh
            rule = plain if parameter.role == "bias" or looked_up else scheme
            if bits < 32 or rule.reparametrization != "none":
                quantizer = WeightQuantizer(weight, bits, rule).to(weight.device)
                parametrize.register_parametrization(module, parameter.name, quantizer)
        if scheme.joint_recurrent and layer.recurrent:
            module.register_forward_pre_hook(share_magnitude)
        attach(module, activation_quantizers(layer, choice, scheme))
        if 0.0 < network.dropouts.get(layer.name, 0.0) < 1.0:
            module.input_keep = 1 - network.dropouts[layer.name]  # type: ignore[assignment]


def _share(model: nn.Module, module: nn.Module, parameter: ParameterSpec) -> None:
    """Let a weight that belongs to an earlier layer too be quantized once for both."""
    owner_name, _, name = parameter.shared.rpartition(".")
    owner = model.get_submodule(owner_name)
    if parametrize.is_parametrized(owner, name):
        parametrize.register_parametrization(module, parameter.name, nn.Identity())
        module.parametrizations[parameter.name] = owner.parametrizations[name]  # type: ignore[index,operator]


def activation_quantizers(
    layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> dict[str, ActivationQuantizer]:
    """New quantizers of a layer's input, and of its hidden state if it has one, by their names."""
    bits = {}
    if layer.multiplies and choice.activation_bits < 32:
        bits["input_quantizer"] = choice.activation_bits
    if layer.recurrent and choice.state_bits < 32:
        bits["hidden_quantizer"] = choice.state_bits
    return {name: ActivationQuantizer(each, scheme) for name, each in bits.items()}


def attach(module: nn.Module, quantizers: Mapping[str, ActivationQuantizer]) -> None:
    """Let a layer use its activation quantizers."""
    device = next(module.parameters()).device
    for name, quantizer in quantizers.items():
        setattr(module, name, quantizer.to(device))
    if "input_quantizer" in quantizers:
        module.register_forward_pre_hook(_quantize_input, with_kwargs=True)


def _quantize_input(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Quantize a layer's first input, by position or by name."""
    if args:
        return (_quantized(module, args[0]), *args[1:]), kwargs
    first = next(iter(kwargs))
    return args, kwargs | {first: _quantized(module, kwargs[first])}


def _quantized(module: nn.Module, values: Tensor) -> Tensor:
    """Quantize as if before the dropout that precedes: in training it scales what it keeps."""
    quantizer: nn.Module = module.input_quantizer  # type: ignore[assignment]
    keep: float = getattr(module, "input_keep", 1.0) if module.training else 1.0
    if keep == 1.0:
        return quantizer(values)  # type: ignore[no-any-return]
    quantized = quantizer(values * keep)
    coding = quant_params_of(quantized)
    result: Tensor = quantized / keep
    if coding is not None:
        attach_quant_params(result, replace(coding, scale=coding.scale / keep))
    return result


def share_magnitude(module: nn.Module, args: tuple[Any, ...] = ()) -> None:
    """Give input and recurrent weights whose products are added up one mean|W| (Bit-RNN).

    A forward pre-hook of recurrent layers under ``scheme.joint_recurrent``.
    """
    assert isinstance(module, RecurrentLayer)
    for suffix in SUFFIXES[: module.directions]:
        for pair in module.products:
            _share_magnitude(module, [name + suffix for name in pair])


def _share_magnitude(module: nn.Module, names: list[str]) -> None:
    quantizers, weights = [], []
    for name in names:
        if not parametrize.is_parametrized(module, name):  # stays as it is, but is counted
            weights.append(getattr(module, name))
            continue
        held: Any = module.parametrizations[name]  # type: ignore[index]
        quantizers.append(held[0])
        weights.append(held[0].effective(held.original))
    magnitude = mean_magnitude(*weights).detach()
    for quantizer in quantizers:
        quantizer.magnitude = magnitude


def scale_dropout(model: nn.Module, share: float) -> None:
    """Multiply the dropout probabilities of all modules, in place."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p *= share
        elif isinstance(getattr(module, "dropout", None), float):  # stacks and attention
            module.dropout = share * module.dropout  # type: ignore[operator,assignment]
        if isinstance(getattr(module, "input_keep", None), float):
            module.input_keep = 1 - share * (1 - module.input_keep)  # type: ignore[operator,assignment]


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


def recalibrate(model: nn.Module, task: Task, seed: int) -> None:
    """Choose all step sizes anew, those of weights and of activations, from the model as it is.

    A model that learns in low precision from its first step needs it: its first step sizes fit
    weights that nobody has trained and a hidden state that hardly moves. Their gradient lets them
    grow by a few thousandths a step, and what is clipped meanwhile does not learn.
    """
    for module in model.modules():
        if isinstance(module, ActivationQuantizer):
            module.observe()
        elif isinstance(module, parametrize.ParametrizationList):
            for each in module:
                if isinstance(each, WeightQuantizer):
                    each.restart(module.original)
    calibrate(model, task, seed)
