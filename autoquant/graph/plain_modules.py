"""Modules without what quantized layers do not have: pruning masks, max_norm, sparse gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from autoquant.layers import kind_of

TORCH_MODULES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Modules that are made of layers later, and are of no kind before."""
TABLES = (nn.Embedding, nn.EmbeddingBag)


def notes_of(model: nn.Module) -> tuple[str, ...]:
    """What a user should know about how quantized plans of a model differ from it, in lines.

    Args:
        model: a float model as the task built it.
    """
    pruned, limited = [], []
    for name, module in model.named_modules():
        pruned += [f"{name}.{hook._tensor_name}".lstrip(".") for hook in _masks(module)]
        limited += [name or "the model"] if _has_max_norm(module) else []
    lines = []
    if pruned:
        lines.append(
            f"pruning is baked in: plans train the zeros of {', '.join(pruned)} like other weights "
            "(a packed file takes as many bytes for a zero)"
        )
    if limited:
        lines.append(f"max_norm of {', '.join(limited)} is applied to the trained table, once")
    return tuple(lines)


@torch.no_grad()
def make_plain(model: nn.Module) -> None:
    """Apply once what layers apply at each call, in place; the function stays the same.

    Args:
        model: a copy of the user's model. Masks of modules that are not quantized stay.
    """
    for module in model.modules():
        for hook in _masks(module):
            _bake_mask(module, hook)
        if _has_max_norm(module):
            _bake_max_norm(module)
        if isinstance(module, TABLES):
            module.sparse = False  # only a float table has sparse gradients


def _masks(module: nn.Module) -> list[BasePruningMethod]:
    """The pruning masks of a module that is to be quantized."""
    if kind_of(module) is None and not isinstance(module, TORCH_MODULES):
        return []
    hooks = module._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, BasePruningMethod)]


def _bake_mask(module: nn.Module, hook: BasePruningMethod) -> None:
    """Make a pruned parameter a plain one.

    Not by ``prune.remove``, which writes into the parameter: an unpruned layer may share it.
    """
    name = hook._tensor_name
    original = module.get_parameter(f"{name}_orig")
    masked: Tensor = hook.apply_mask(module)  # type: ignore[no-untyped-call]
    pruned = nn.Parameter(masked, original.requires_grad)
    for key, other in [*module._forward_pre_hooks.items()]:
        if other is hook:
            del module._forward_pre_hooks[key]
    for attribute in (name, f"{name}_orig", f"{name}_mask"):
        delattr(module, attribute)
    setattr(module, name, pruned)


def _has_max_norm(module: nn.Module) -> bool:
    """Whether a table that is to be quantized shortens the rows that are looked up."""
    is_table = isinstance(module, TABLES) and kind_of(module) is not None
    return is_table and module.max_norm is not None


def _bake_max_norm(module: nn.Module) -> None:
    weight = module.get_parameter("weight")
    if not weight.is_meta:
        rows = torch.arange(len(weight), device=weight.device)
        torch.embedding_renorm_(weight, rows, module.max_norm, module.norm_type)  # type: ignore[arg-type]
    module.max_norm = None  # type: ignore[assignment]
