"""Quantized activations: the quantizers of layer inputs and hidden states, and dropout."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import attach_quant_params, quant_params_of
from autoquant.settings import Scheme

INPUT_QUANTIZER, HIDDEN_QUANTIZER = "input_quantizer", "hidden_quantizer"
"""Attributes of a layer that hold the quantizers; also names of their tensors in a packed file."""


def quantized_activations(layer: LayerSpec, choice: LayerChoice) -> dict[str, int]:
    """Bits of a layer's quantized activations, by the attribute that holds the quantizer.

    Args:
        layer: an embedding has no input to quantize; only recurrent layers have a hidden state.
        choice: gives the bits; activations of 32 bits need no quantizer.
    """
    bits = {}
    if layer.multiplies and choice.activation_bits < 32:
        bits[INPUT_QUANTIZER] = choice.activation_bits
    if layer.recurrent and choice.state_bits < 32:
        bits[HIDDEN_QUANTIZER] = choice.state_bits
    return bits


def build_activation_quantizers(
    layer: LayerSpec, choice: LayerChoice, scheme: Scheme
) -> dict[str, ActivationQuantizer]:
    """New quantizers of a layer's input, and of its hidden state if it has one.

    Args:
        layer: as in ``quantized_activations``.
        choice: as there.
        scheme: gives the scales' rule and the clipping.

    Returns:
        the quantizers by the attribute of the layer that holds them.
    """
    bits = quantized_activations(layer, choice)
    return {name: ActivationQuantizer(count, scheme) for name, count in bits.items()}


def attach_activation_quantizers(
    module: nn.Module, quantizers: Mapping[str, ActivationQuantizer]
) -> None:
    """Let a layer use its activation quantizers.

    Args:
        module: the layer; its input is quantized before its forward, also where user code calls
            that instead of the module; its hidden state by the layer's own time loop.
        quantizers: by attribute, as ``build_activation_quantizers`` returns them.
    """
    device = next(module.parameters()).device
    for name, quantizer in quantizers.items():
        setattr(module, name, quantizer.to(device))
    if INPUT_QUANTIZER in quantizers:
        module.forward = partial(_forward_quantized, module)


def detach_activation_quantizers(module: nn.Module) -> None:
    """Take its activation quantizers from a layer, if it has any: the inverse of attaching them.

    Args:
        module: of any kind; changed in place.
    """
    for name in (INPUT_QUANTIZER, HIDDEN_QUANTIZER):
        if isinstance(module._modules.get(name), ActivationQuantizer):
            delattr(module, name)
    if quantizes_input(module):
        del module.forward


def quantizes_input(module: nn.Module) -> bool:
    """Whether a layer's forward is its class's behind a quantizer that was attached.

    Args:
        module: of any kind.
    """
    forward = vars(module).get("forward")
    return isinstance(forward, partial) and forward.func is _forward_quantized


def _forward_quantized(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """A layer's forward with its first input quantized, which is given by position or by name.

    Args:
        module: the layer.
        args: of its forward pass.
        kwargs: of its forward pass.
    """
    forward: Any = type(module).forward
    if args:
        return forward(module, _quantized(module, args[0]), *args[1:], **kwargs)
    first = [*inspect.signature(forward).parameters][1]
    return forward(module, **kwargs | {first: _quantized(module, kwargs[first])})


def _quantized(module: nn.Module, values: Tensor) -> Tensor:
    """Layer inputs, quantized as if before a preceding dropout, which divides what it keeps."""
    quantizer: ActivationQuantizer = module.input_quantizer  # type: ignore[assignment]
    keep = quantizer.keep if module.training else 1.0
    if keep == 1.0:
        return quantizer(values)  # type: ignore[no-any-return]
    quantized: Tensor = quantizer(values * keep)
    params = quant_params_of(quantized)
    result: Tensor = quantized / keep
    if params is not None:
        attach_quant_params(result, replace(params, scale=params.scale / keep))
    return result


def scale_dropout(model: nn.Module, share: float) -> None:
    """Multiply the dropout probabilities of all modules, in place.

    Args:
        model: its dropout modules are changed, and modules with a float attribute ``dropout``, such
            as stacks and attention layers.
        share: of its dropout that the model keeps, in [0, 1].
    """
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p *= share
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = share * module.dropout  # type: ignore[operator,assignment]
        if isinstance(module, ActivationQuantizer):
            module.keep = 1 - share * (1 - module.keep)
