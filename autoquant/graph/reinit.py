"""New first weights for a model that was widened before it was ever trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from autoquant.graph.network import Network
from autoquant.layers import ParameterSpec


@torch.no_grad()
def redraw(wide: nn.Module, small: nn.Module, before: Network, after: Network, seed: int) -> None:
    """Draw the weights of ``wide`` that have grown anew, in place.

    Duplicated units start as twins, which training hardly parts. Here each value of a grown weight
    is drawn from the values that the model class gave to the small one, so that it has their
    distribution; as for weights drawn by fan-in, the variance falls with the number of columns.
    Biases keep what growing gave them.

    Args:
        small: the model as the class makes it.
        before: its network.
        after: the network of ``wide``.
    """
    generator = torch.Generator().manual_seed(seed)
    for old, new in zip(before.layers, after.layers, strict=True):
        module, source = wide.get_submodule(new.name), small.get_submodule(old.name)
        for was, now in zip(old.parameters, new.parameters, strict=True):
            if was.shape == now.shape or len(now.shape) < 2 or now.shared:
                continue
            weight: Tensor = getattr(module, now.name)
            values: Tensor = getattr(source, was.name).flatten()
            chosen = torch.randint(values.numel(), now.shape, generator=generator)
            weight.copy_(values[chosen.to(values.device)] * math.sqrt(_narrowing(was, now)))


def _narrowing(was: ParameterSpec, now: ParameterSpec) -> float:
    """How many units a weight read over how many it reads now; an embedding reads none."""
    pairs = zip(was.axes, now.axes, strict=True)
    return math.prod(a.size / b.size for a, b in pairs if a.role in ("in", "hidden"))
