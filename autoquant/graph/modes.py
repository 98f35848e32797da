"""Training and eval mode of a model's modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Give each module of a model the mode back that it had.

    Args:
        model: any.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def train_own_modules(model: nn.Module) -> nn.Module:
    """Put a model's modules into training mode that are of the user's classes, in place.

    Modules of torch and of autoquant (dropout, norms, layers) are put into eval mode: outputs do
    not depend on the batch, and nothing is dropped.

    Args:
        model: any.
    """
    for module in model.modules():
        package = parametrize.type_before_parametrizations(module).__module__.partition(".")[0]
        noisy = isinstance(module, _NormBase | _DropoutNd)
        module.training = not noisy and package not in ("torch", "autoquant")
    return model
