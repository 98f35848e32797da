"""From autoquant's linear layers, tables and attention to torch's modules, in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.subclasses import users_class
from autoquant.runtime import PackedEmbedding, PackedLinear

_EMBEDDING_DEFAULTS = {
    "max_norm": None,
    "norm_type": 2.0,
    "scale_grad_by_freq": False,
    "sparse": False,
}


def become(module: nn.Module, built: nn.Module) -> None:
    """Let a module be another one, wherever a model or its user's code holds it.

    Args:
        module: changed in place.
        built: whose class and content it takes.
    """
    module.__class__ = type(built)
    vars(module).clear()
    vars(module).update(vars(built))


def make_linear(module: PackedLinear | IntegerLinear) -> None:
    """Let a linear layer be of torch's class, or of the user's subclass, with a float weight.

    Args:
        module: changed in place.
    """
    if isinstance(module, PackedLinear):
        weight = nn.Parameter(module.weight)
        _set_class(module, nn.Linear)
        _forget(module, "packed", "input_quantizer", "_cached")
        _set_first(module, "weight", weight)
    else:
        _set_class(module, nn.Linear)


def make_embedding(module: PackedEmbedding) -> None:
    """Let a table be of torch's class, or of the user's subclass, with float rows.

    Args:
        module: changed in place.
    """
    weight, zero_rows = module.weight, module.table.zero_rows
    for row in [row for row, is_zero in zero_rows.items() if is_zero]:
        weight[row] = 0
    _set_class(module, nn.Embedding)
    _forget(module, "table")
    for name, value in _EMBEDDING_DEFAULTS.items():
        vars(module).setdefault(name, value)
    _set_first(module, "weight", nn.Parameter(weight))


def make_attention(module: Attention) -> None:
    """Let attention be nn.MultiheadAttention, if its heads have the width of its outputs.

    Args:
        module: of linear layers of torch; changed in place. It stays as it is where new heads have
            made the projections wider, or narrower, than the outputs: torch has no such module.
    """
    query, out = module.q_proj, module.out_proj
    widths = {query.out_features, out.in_features, query.in_features, out.out_features}
    if len(widths) == 1:
        become(module, _torch_attention(module))


def _torch_attention(attention: Attention) -> nn.MultiheadAttention:
    """A module of torch with the weights of four linear layers."""
    layers: Any = attention.q_proj, attention.k_proj, attention.v_proj
    size, out = attention.out_proj.out_features, attention.out_proj
    biased = any(layer.bias is not None for layer in (*layers, out))
    built = nn.MultiheadAttention(
        size,
        size // attention.head_dim,
        attention.dropout,
        biased,
        kdim=attention.k_proj.in_features,
        vdim=attention.v_proj.in_features,
        batch_first=attention.batch_first,
        device="meta",  # without drawing random numbers
        dtype=out.weight.dtype,
    ).to_empty(device=out.weight.device)
    weights = [layer.weight for layer in layers]
    joint: Tensor | None = built.in_proj_weight
    if joint is not None:
        joint.copy_(torch.cat(weights))
    else:
        goals: Any = built.q_proj_weight, built.k_proj_weight, built.v_proj_weight
        for goal, weight in zip(goals, weights, strict=True):
            goal.copy_(weight)
    built.out_proj.weight.copy_(out.weight)
    if biased:
        built.in_proj_bias.copy_(torch.cat([_bias(layer) for layer in layers]))
        built.out_proj.bias.copy_(_bias(out))
    return built.train(attention.training)


def _bias(layer: nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    return layer.weight.new_zeros(layer.out_features) if bias is None else bias


def _set_class(module: nn.Module, torch_class: type[nn.Module]) -> None:
    """Give a module the class that the user knows it by.

    Args:
        module: of a class of autoquant, or of one that is combined with the user's.
        torch_class: of torch, for the first.
    """
    users = users_class(module)
    module.__class__ = torch_class if users is type(module) else users


def _forget(module: nn.Module, *names: str) -> None:
    """Take attributes and submodules from a module, where it has them."""
    for name in names:
        vars(module).pop(name, None)
        module._modules.pop(name, None)


def _set_first(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Set a parameter, which comes first in the state_dict, as in torch's modules.

    Args:
        module: changed in place.
        name: of the parameter.
        parameter: its value.
    """
    vars(module)["_parameters"] = {name: parameter, **module._parameters}
