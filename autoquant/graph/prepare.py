"""A copy of a user's model in which every module that autoquant quantizes is a layer of its own."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils import _pytree as pytree

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
    known layer computes from others (weight norm, say) are plain weights in the copy.
    """
    model = copy.deepcopy(model, _computed(model))
    if baked := [name for name, module in model.named_modules() if _baked(module)]:
        log.info("what these compute their weights from is baked into them: %s", ", ".join(baked))
    if (own := _stand_in(model)) is not None:
        model = own
    made: dict[nn.Module, nn.Module] = {}  # a module may be there under several names
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if child not in made and (own := _stand_in(child)) is not None:
                made[child] = own
            if child in made:
                setattr(parent, name, made[child])
    for module in model.modules():
        if type(module) is nn.Linear:
            IntegerLinear.adopt(module)
    return model


def _computed(model: nn.Module) -> dict[int, Tensor]:
    """What takes the place of tensors that deepcopy refuses: those that weight_norm computed."""
    held = [vars(module) for module in model.modules()]
    leaves = (each for each in pytree.tree_leaves(held) if isinstance(each, Tensor))
    return {id(each): each.detach().clone() for each in leaves if not each.is_leaf}


@torch.no_grad()
def _baked(module: nn.Module) -> bool:
    """Make plain weights, as they are in eval mode, of those that a layer computes; in place."""
    known = (*RECURRENT, *CELLS, nn.MultiheadAttention)
    if kind_of(module) is None and not any(_runs_as(module, each) for each in known):
        return False
    hooks: list[Any] = [*module._forward_pre_hooks.values()]
    found = False
    for hook in hooks:
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        found |= isinstance(hook, WeightNorm | SpectralNorm)
    if parametrize.is_parametrized(module):
        held: Any = module.eval().parametrizations
        values = {name: getattr(module, name) for name in held}
        # not remove_parametrizations: it changes the class, which the user's own model has too
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value))
        found = True
    return found


def _stand_in(module: nn.Module) -> nn.Module | None:
    """The module of ours that takes a torch module's place, if there is one."""
    if any(_runs_as(module, each) for each in RECURRENT):
        return Recurrent.from_torch(module)  # type: ignore[arg-type]
    if any(_runs_as(module, each) for each in CELLS):
        return RecurrentCell.from_torch(module)  # type: ignore[arg-type]
    if _runs_as(module, nn.MultiheadAttention) and Attention.suits(module):  # type: ignore[arg-type]
        return Attention.from_torch(module)  # type: ignore[arg-type]
    return None


def _runs_as(module: nn.Module, known: type[nn.Module]) -> bool:
    """Whether a module is of a class, or of a subclass that has no forward of its own."""
    return isinstance(module, known) and type(module).forward is known.forward
