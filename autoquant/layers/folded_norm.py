"""Batch norms as a scale and a shift in half precision: what ``quantizer.norms=half`` stores.

In eval mode a batch norm multiplies each channel by ``weight / sqrt(running_var + eps)`` and adds
``bias - running_mean * scale``. Both are rounded to half precision, in the model in training and in
the file. In training mode nothing is rounded: the norm uses the statistics of the batch there.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.layers.spec import LayerSpec
from autoquant.quantization.storage import cast

FOLDED = ("folded_scale", "folded_shift")
"""Names of the two tensors of a norm in a packed file."""
_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


def can_fold(norm: LayerSpec) -> bool:
    """Whether a norm is a scale and a shift in eval mode: a batch norm with all its parameters.

    Others keep float32: their statistics are those of the input, or they have no weight.

    Args:
        norm: of any kind.
    """
    names = {parameter.name for parameter in norm.parameters}
    return norm.kind == "batchnorm" and names == set(_PARAMETERS)


def folded(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in eval mode, rounded to half precision, in its dtype.

    Args:
        norm: a batch norm that ``can_fold``.
    """
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    return cast(scale, 16), cast(shift, 16)


def set_folded(norm: Any, scale: Tensor, shift: Tensor) -> None:
    """Make a batch norm multiply by a scale and add a shift in eval mode, exactly; in place.

    Args:
        norm: a batch norm.
        scale: [channels], in its dtype and on its device; becomes its weight.
        shift: the same; becomes its bias.
    """
    norm._parameters |= {"weight": scale, "bias": shift}
    mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
    norm._buffers |= {"running_mean": mean.detach(), "running_var": variance.detach()}
    norm.eps = 0.0


def round_in_eval(norm: nn.Module) -> None:
    """Let a batch norm compute in eval mode what it will compute once it is loaded from a file.

    Args:
        norm: a batch norm that ``can_fold``; it gets a forward hook, which runs before others.
    """
    norm.register_forward_hook(_rounded_output, with_kwargs=True, prepend=True)


def _rounded_output(
    norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """A forward hook that gives the output of the rounded norm, unless it is in training mode.

    Args:
        norm: a batch norm, as it is trained.
        args: of its forward pass.
        kwargs: of its forward pass.
        output: of the norm itself.
    """
    if norm.training:
        return output
    rounded: Any = copy.copy(norm)
    for name in ("_parameters", "_buffers"):
        setattr(rounded, name, getattr(norm, name).copy())
    set_folded(rounded, *folded(norm))
    return rounded.forward(*args, **kwargs)
