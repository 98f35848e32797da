"""New initial weights for a model that was widened before it was ever trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from autoquant.graph.network import Network
from autoquant.graph.widen import get_tensor
from autoquant.layers import ParameterSpec
from autoquant.layers.embedding import keep_padding


@torch.no_grad()
def reinitialize(
    wide: nn.Module, small: nn.Module, before: Network, after: Network, seed: int
) -> None:
    """Draw the grown weights of a model anew, in place.

    Duplicated units begin equal, and training hardly separates them. Here each value of a grown
    weight is drawn from the values that the model class gave to the small one, so that it has their
    distribution; as for weights drawn by fan-in, the variance falls with the number of columns.
    Tables that are trained are drawn likewise. Biases keep what growing gave them, and so do frozen
    weights, and gains, except that those of a LayerNorm or RMSNorm are as large as before.

    Args:
        wide: the model after ``widen``, whose weights are drawn.
        small: the model as the class makes it.
        before: the network of ``small``.
        after: the network of ``wide``.
        seed: of the choice of values.
    """
    generator = torch.Generator().manual_seed(seed)
    for old_layer, new_layer in zip(before.layers, after.layers, strict=True):
        module, source = wide.get_submodule(new_layer.name), small.get_submodule(old_layer.name)
        for old, new in zip(old_layer.parameters, new_layer.parameters, strict=True):
            if old.shape == new.shape or len(new.shape) < 2 or new.shared:
                continue
            weight: Tensor = getattr(module, new.name)
            if not weight.requires_grad:
                continue
            values: Tensor = getattr(source, old.name)
            weight.copy_(_drawn(values, new.shape, generator) * math.sqrt(_fan_in_ratio(old, new)))
            keep_padding(module, values, weight)
    for table in after.unquantized:
        weight, values = get_tensor(wide, table.name), get_tensor(small, table.name)
        if table.original is not None and weight.requires_grad:
            weight.copy_(_drawn(values, table.shape, generator))
    for norm in after.norms:
        if norm.new_units == "copies" or norm.original is None:
            continue
        gain = norm.parameters[0]
        if not gain.shared:
            get_tensor(wide, norm.full_name(gain.name)).mul_(
                math.sqrt(norm.units / norm.original[0])
            )


def _drawn(values: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A tensor of values that are drawn from another one.

    Args:
        values: to draw from.
        shape: of the result.
        generator: of the choice.
    """
    chosen = torch.randint(values.numel(), shape, generator=generator)
    return values.flatten()[chosen.to(values.device)]


def _fan_in_ratio(old: ParameterSpec, new: ParameterSpec) -> float:
    """How many units a weight read over how many it reads now; 1 for an embedding."""
    pairs = zip(old.axes, new.axes, strict=True)
    return math.prod(a.size / b.size for a, b in pairs if a.role in ("in", "hidden"))
