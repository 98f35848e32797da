"""A copy of a user's model in which every module that autoquant quantizes is a layer of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.graph.plain_modules import make_plain
from autoquant.layers import kind_of
from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent import RAW
from autoquant.layers.recurrent_cell import CELLS, RecurrentCell
from autoquant.layers.registry import overridden, runs_as
from autoquant.layers.stack import STACKS, Recurrent

log = logging.getLogger(__name__)

REPLACED = (*STACKS, *CELLS, nn.MultiheadAttention)


def prepare(model: nn.Module) -> nn.Module:
    """A copy of a model whose recurrent and attention modules are made of layers; same function.

    Linear layers of the copy can run on integer codes, once they are quantized. Weights that a
    known layer computes from others (weight norm, pruning, max_norm) are plain weights in the copy.
    Frozen parameters (``requires_grad=False``) stay frozen; a plain weight is, where all that it
    was computed from is.

    Args:
        model: a float model of any kind; it is left as it is.

    Raises:
        UserError: a lazy module of it has not been initialized.
    """
    for name, module in model.named_modules():
        if any(is_lazy(tensor) for tensor in module._parameters.values()):
            kind = type(module).__name__
            raise UserError(f"{name} must have seen an input, got an uninitialized {kind}")
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
        if runs_as(module, nn.Linear):
            IntegerLinear.adopt(module)  # type: ignore[arg-type]
    return model


@torch.no_grad()
def _make_weights_plain(module: nn.Module) -> bool:
    """Make plain weights, as they are in eval mode, of those that a layer computes; in place.

    Returns:
        Whether there were any.
    """
    if kind_of(module) is None and not any(runs_as(module, cls) for cls in REPLACED):
        return False
    norms = _remove_old_norms(module)
    if not parametrize.is_parametrized(module):
        return norms
    parametrizations: Any = module.eval().parametrizations
    values = {
        name: nn.Parameter(getattr(module, name), _any_trained(parametrization.parameters()))
        for name, parametrization in parametrizations.items()
    }
    # not remove_parametrizations: it changes the class, which the user's own model has too
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, value)
    return True


def _remove_old_norms(module: nn.Module) -> bool:
    """Make plain weights of those that hooks compute (torch.nn.utils.weight_norm, spectral_norm).

    Returns:
        Whether there were any.
    """
    hooks = [*module._forward_pre_hooks.values()]
    norms = [hook for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]
    for hook in norms:
        of_norm = [f"{hook.name}_{suffix}" for suffix in ("g", "v", "orig")]
        trained = _any_trained(p for name, p in module.named_parameters() if name in of_norm)
        remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
        remove(module, hook.name)
        getattr(module, hook.name).requires_grad_(trained)
    return bool(norms)


def _any_trained(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether a weight that is computed from parameters is trained: unless all are frozen."""
    return any(parameter.requires_grad for parameter in parameters)


def _replacement(module: nn.Module) -> nn.Module | None:
    """The module of autoquant's that takes a torch module's place, if there is one."""
    if _weights_set_by_others(module):
        return None
    if any(runs_as(module, cls) for cls in STACKS):
        return Recurrent.from_torch(module)  # type: ignore[arg-type]
    if any(runs_as(module, cls) for cls in CELLS):
        return RecurrentCell.from_torch(module)  # type: ignore[arg-type]
    if runs_as(module, nn.MultiheadAttention) and Attention.suits(module):  # type: ignore[arg-type]
        return Attention.from_torch(module)  # type: ignore[arg-type]
    return None


def _weights_set_by_others(module: nn.Module) -> bool:
    """Whether a recurrent module lacks a weight, or has a plain tensor in the place of one.

    A wrapper of user code sets it before each pass. Where the module has the weight that it is set
    from (see ``source_of``), that one is known, and taken.
    """
    if isinstance(module, nn.RNNBase):
        names = module._flat_weights_names
    else:
        names = ["weight_ih", "weight_hh"] if isinstance(module, nn.RNNCellBase) else []
    kept = module._parameters
    return any(name not in kept and name + RAW not in kept for name in names)


def why_not_replaced(module: nn.Module) -> str:
    """Why a recurrent or attention module of torch has no replacement; empty for others.

    Args:
        module: of a prepared model.
    """
    base = next((cls for cls in REPLACED if isinstance(module, cls)), None)
    if base is None:
        return ""
    if what := overridden(module, base):
        return f"has a {what} of its own"
    if _weights_set_by_others(module):
        return "has weights that other code sets"
    return "has add_bias_kv or add_zero_attn"
