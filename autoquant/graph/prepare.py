"""A copy of a user's model in which every module that autoquant quantizes is a layer of its own."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from autoquant.copies import copy_model
from autoquant.graph.plain_modules import make_plain
from autoquant.layers import kind_of
from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent

log = logging.getLogger(__name__)

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def prepare(model: nn.Module) -> nn.Module:
    """A copy of a model whose recurrent and attention modules are made of layers; same function.

    Linear layers of the copy can run on integer codes, once they are quantized. Weights that a
    known layer computes from others (weight norm, pruning, max_norm) are plain weights in the copy.

    Args:
        model: a float model of any kind; it is left as it is.
    """
    model = copy_model(model)
    make_plain(model)
    computed = [name for name, module in model.named_modules() if _make_weights_plain(module)]
    if computed:
        log.info(
            "what these compute their weights from is baked into them: %s", ", ".join(computed)
        )
    if (replacement := _replacement(model)) is not None:
        model = replacement
    replacements: dict[nn.Module, nn.Module] = {}  # a module may have several names
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if child not in replacements and (replacement := _replacement(child)) is not None:
                replacements[child] = replacement
            if child in replacements:
                setattr(parent, name, replacements[child])
    for module in model.modules():
        if type(module) is nn.Linear:
            IntegerLinear.adopt(module)
    return model


@torch.no_grad()
def _make_weights_plain(module: nn.Module) -> bool:
    """Make plain weights, as they are in eval mode, of those that a layer computes; in place.

    Returns:
        Whether there were any.
    """
    torch_modules = (*RECURRENT, *CELLS, nn.MultiheadAttention)
    if kind_of(module) is None and not any(_runs_as(module, cls) for cls in torch_modules):
        return False
    hooks = [*module._forward_pre_hooks.values()]
    norms = [hook for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]
    for hook in norms:
        remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
        remove(module, hook.name)
    if not parametrize.is_parametrized(module):
        return bool(norms)
    parametrizations: Any = module.eval().parametrizations
    values = {name: getattr(module, name) for name in parametrizations}
    # not remove_parametrizations: it changes the class, which the user's own model has too
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
    return True


def _replacement(module: nn.Module) -> nn.Module | None:
    """The module of autoquant's that takes a torch module's place, if there is one."""
    if any(_runs_as(module, cls) for cls in RECURRENT):
        return Recurrent.from_torch(module)  # type: ignore[arg-type]
    if any(_runs_as(module, cls) for cls in CELLS):
        return RecurrentCell.from_torch(module)  # type: ignore[arg-type]
    if _runs_as(module, nn.MultiheadAttention) and Attention.suits(module):  # type: ignore[arg-type]
        return Attention.from_torch(module)  # type: ignore[arg-type]
    return None


def _runs_as(module: nn.Module, cls: type[nn.Module]) -> bool:
    """Whether a module is of a class, or of a subclass that has no forward of its own."""
    return isinstance(module, cls) and type(module).forward is cls.forward
