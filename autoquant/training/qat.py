"""Quantization-aware training: from a float model and a plan to a fake-quantized model."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.reinit import reinitialize
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.layers.embedding import padding_row, without_padding
from autoquant.layers.folded_norm import can_fold, round_in_eval
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.quantization.scale_rules import mean_magnitude
from autoquant.settings import Scheme
from autoquant.task import Task
from autoquant.training.activations import (
    INPUT_QUANTIZER,
    attach_activation_quantizers,
    build_activation_quantizers,
)
from autoquant.training.eval_losses import eval_losses
from autoquant.training.fixed_loss import fixed_loss

CALIBRATION_BATCHES = 8
"""Training batches from which the scales of activations are calibrated."""
MAX_CALIBRATION_BATCHES = 64
"""The same where a layer got no rows in the first ones."""
_EXAMPLE_RUNS: WeakKeyDictionary[nn.Module, tuple[Task, ExampleRun]] = WeakKeyDictionary()


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
        model: the prepared float model; it stays as it is.
        network: its layers, before widening.
        plan: bits and widths of every layer.
        scheme: how numbers become codes.
        task: gives an example to check the widened model, and training batches to calibrate it.
        method: how layers are widened, see ``settings.Widening``.
        seed: of grown weights and of the batches for calibration.
        untrained: whether grown weights are reinitialized, instead of keeping the function of a
            model that nobody has trained.

    Raises:
        UserError: the plan does not fit the network.
        RunError: widening changed the function.
    """
    growth = "even" if untrained else method  # of it, reinitializing keeps the biases
    candidate, grown = widen(model, network, WideningRequest(plan, scheme, growth, seed))
    if untrained:
        reinitialize(candidate, model, network, grown, seed)
    elif grown.layers != network.layers:
        _example_run(model, task).check_same(model, candidate)
    quantize(candidate, grown, plan, scheme)
    calibrate(candidate, task, seed)
    return candidate


def _example_run(model: nn.Module, task: Task) -> ExampleRun:
    """How a float model is compared with others; found out once for all of its candidates.

    Args:
        model: the float model.
        task: gives the example and the loss.
    """
    known = _EXAMPLE_RUNS.get(model)
    if known is None or known[0] is not task:
        example = task.example()
        run = ExampleRun.of(model, example.inputs, example.keywords, fixed_loss(task))
        known = _EXAMPLE_RUNS[model] = task, run
    return known[1]


# --- quantizers ----------------------------------------------------------------------------------


def quantize(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> None:
    """Put quantizers on the parameters and activations of a model, in place.

    Parameters get a parametrization, layer inputs a forward pre-hook, hidden states a quantizer
    inside the recurrence; batch norms a forward hook where ``scheme.norms`` rounds them.

    Args:
        model: a prepared model at the plan's widths.
        network: its layers at these widths.
        plan: bits of every layer.
        scheme: how numbers become codes.
    """
    for layer in network.layers:
        module, choice = model.get_submodule(layer.name), plan[layer.name]
        _quantize_parameters(model, layer, choice, scheme)
        if scheme.joint_recurrent and layer.recurrent:
            module.register_forward_pre_hook(share_magnitude)
        quantizers = build_activation_quantizers(layer, choice, scheme)
        attach_activation_quantizers(module, quantizers)
        dropout = network.dropouts.get(layer.name, 0.0)
        if INPUT_QUANTIZER in quantizers and 0.0 < dropout < 1.0:
            quantizers[INPUT_QUANTIZER].keep = 1 - dropout
    if scheme.norms == "half":
        for norm in filter(can_fold, network.norms):
            round_in_eval(model.get_submodule(norm.name))


def _quantize_parameters(
    model: nn.Module, layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> None:
    """Put quantizers on the weights and biases of a layer.

    The scale of a frozen parameter is chosen from its values, and not trained.

    Args:
        model: holds the layer.
        layer: at the plan's width.
        choice: gives the bits.
        scheme: how numbers become codes.
    """
    module = model.get_submodule(layer.name)
    plain = scheme.changed(reparametrization="none")  # biases may lie outside tanh's range
    for parameter in layer.parameters:
        if parameter.shared:
            _share_quantizer(model, module, parameter)
            continue
        bits = scheme.bits_of(parameter.role, choice)
        weight = getattr(module, parameter.name)
        float_table = not layer.multiplies and bits == 32  # Bit-RNN's embedding has no tanh
        parameter_scheme = plain if parameter.role == "bias" or float_table else scheme
        rounded = bits < 32 or weight.dtype == torch.float64  # to float32, as it will be stored
        if rounded or parameter_scheme.reparametrization != "none":
            quantizer = WeightQuantizer(weight, bits, parameter_scheme, parameter.role)
            if not weight.requires_grad:  # frozen: its quantized values stay as they are too
                quantizer.requires_grad_(False)
            quantizer.to(weight.device)
            parametrize.register_parametrization(module, parameter.name, quantizer)
    _keep_padding_zero(module)


def _keep_padding_zero(module: nn.Module) -> None:
    """Let a table that is quantized on a grid without zero look up zeros for padding.

    Args:
        module: any layer; only nn.Embedding has a padding row.
    """
    padding = padding_row(module)
    if padding is None or not parametrize.is_parametrized(module, "weight"):
        return
    quantizer: Any = module.parametrizations["weight"][0]  # type: ignore[index]
    if isinstance(quantizer, WeightQuantizer) and quantizer.grid and quantizer.grid.offset:
        quantizer.zero_rows[padding] = torch.tensor(False)
        module.register_forward_hook(_zero_padding, with_kwargs=True)


def _zero_padding(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], vectors: Tensor
) -> Tensor:
    """A forward hook of an embedding with a padding row.

    Args:
        module: the embedding.
        args: of its forward pass: indices.
        kwargs: of its forward pass.
        vectors: what it looked up.
    """
    quantizer: Any = module.parametrizations["weight"][0]  # type: ignore[index]
    words, padding = args[0] if args else kwargs["input"], padding_row(module)
    assert padding is not None
    return without_padding(vectors, words, padding, quantizer.zero_rows[padding])


def _share_quantizer(model: nn.Module, module: nn.Module, parameter: ParameterSpec) -> None:
    """Let a weight that belongs to an earlier layer too be quantized once for both.

    Args:
        model: holds both layers.
        module: the later layer.
        parameter: of the later layer; names the earlier one.
    """
    owner_name, _, name = parameter.shared.rpartition(".")
    owner = model.get_submodule(owner_name)
    if parametrize.is_parametrized(owner, name):
        parametrize.register_parametrization(module, parameter.name, nn.Identity())
        module.parametrizations[parameter.name] = owner.parametrizations[name]  # type: ignore[index,operator]


def share_magnitude(module: nn.Module, args: tuple[Any, ...] = ()) -> None:
    """Give input and recurrent weights whose products are added up one mean|W| (Bit-RNN).

    A forward pre-hook of recurrent layers under ``scheme.joint_recurrent``.

    Args:
        module: a recurrent layer with quantized weights.
        args: of its forward pass; not used.
    """
    assert isinstance(module, RecurrentLayer)
    for suffix in SUFFIXES[: module.directions]:
        for pair in module.weight_pairs:
            _share_magnitude(module, [name + suffix for name in pair])


def _share_magnitude(module: nn.Module, names: list[str]) -> None:
    quantizers, weights = [], []
    for name in names:
        if not parametrize.is_parametrized(module, name):  # not quantized, but part of the mean
            weights.append(getattr(module, name))
            continue
        parametrization: Any = module.parametrizations[name]  # type: ignore[index]
        quantizers.append(parametrization[0])
        weights.append(parametrization[0].effective(parametrization.original))
    magnitude = mean_magnitude(*weights).detach()
    for quantizer in quantizers:
        quantizer.magnitude = magnitude


# --- scales --------------------------------------------------------------------------------------


@torch.no_grad()
def calibrate(model: nn.Module, task: Task, seed: int) -> None:
    """Set the scales of activation quantizers from the values of some training batches.

    Args:
        model: a fake-quantized model; its quantizers observe CALIBRATION_BATCHES batches in eval
            mode (see ``eval_losses``), or more where a layer was called without rows in all of them
            (an expert that no sample was sent to).
        task: gives the batches.
        seed: of the batches.
    """
    for quantizer in observe(model, task, seed):
        quantizer.finish()


@torch.no_grad()
def observe(model: nn.Module, task: Task, seed: int) -> list[ActivationQuantizer]:
    """Show values to activation quantizers; the first half of ``calibrate``.

    Args:
        model: as in ``calibrate``.
        task: as there.
        seed: as there.

    Returns:
        all activation quantizers of the model.
    """
    quantizers = [m for m in model.modules() if isinstance(m, ActivationQuantizer)]
    if not quantizers:
        return []
    batches = islice(task.batches(seed), MAX_CALIBRATION_BATCHES)
    with parametrize.cached(), closing(eval_losses(model, task.loss, batches)) as losses:
        for count, _ in enumerate(losses, start=1):
            enough = count >= CALIBRATION_BATCHES
            if enough and not any(quantizer.waiting for quantizer in quantizers):
                break
    return quantizers


def recalibrate(model: nn.Module, task: Task, seed: int) -> None:
    """Set all scales again, those of weights and of activations, from the model as it is.

    A model that is trained in low precision from scratch needs it: its first scales fit untrained
    weights and a hidden state of small values. By their gradient scales grow a few thousandths a
    step, and values that are clipped meanwhile have no gradient.

    Args:
        model: a fake-quantized model in training.
        task: gives the batches.
        seed: of the batches.
    """
    for module in model.modules():
        if isinstance(module, ActivationQuantizer):
            module.observe()
        elif isinstance(module, parametrize.ParametrizationList):
            for quantizer in module:
                if isinstance(quantizer, WeightQuantizer):
                    quantizer.recalibrate(module.original)
    calibrate(model, task, seed)
