"""What must hold of a float model before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoquant.artifact.manifest import DTYPES
from autoquant.errors import UserError
from autoquant.graph.plain_modules import TORCH_MODULES
from autoquant.layers import kind_of


def check_model(model: nn.Module) -> None:
    """Raise a UserError where a model cannot be stored or quantized.

    Args:
        model: a float model as its task built it.

    Raises:
        UserError: its state holds something that no file can hold, or a weight that is to be
            quantized is not finite.
    """
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"extra state of a model must be a tensor, got a {kind} in {name}")
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            requirement = f"tensors of a model must be of the types {', '.join(DTYPES)}"
            raise UserError(f"{requirement}, got {dtype} in {name}")
    for name, module in model.named_modules():
        if kind_of(module) is not None or isinstance(module, TORCH_MODULES):
            _check_finite(name, module)


@torch.no_grad()
def _check_finite(layer: str, module: nn.Module) -> None:
    """Raise a UserError where a parameter of a layer holds NaN or infinity.

    Even where no input reads it: it would be part of a scale, and of the norm of all gradients.
    """
    for name, parameter in module.named_parameters():
        wrong = int((~parameter.isfinite()).sum()) if parameter.is_floating_point() else 0
        if wrong:
            full_name = f"{layer}.{name}".lstrip(".")
            raise UserError(
                f"weights must be finite, got NaN or infinity in {wrong} of {parameter.numel()} "
                f"values of {full_name}"
            )
