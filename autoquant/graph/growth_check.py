"""Proof by growing: whether groups that look free do keep the model's function when they grow.

A forward pass may hold sizes that no trace can see (a constant in a view, a check of a shape). So
every group is grown a little, each by another number of units, and the model is run again on its
example: what fails, or computes something else, is frozen with what went wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.errors import RunError, first_line
from autoquant.graph.network import Network
from autoquant.graph.tracing import lines
from autoquant.graph.widen import check_same_outputs, grow, outputs_of, sharing_copy
from autoquant.layers import grown_units
from autoquant.plan import WIDEST, Plan
from autoquant.settings import Scheme

STEPS = 5  # different growths, so that a size that two groups share by chance is told apart


@torch.no_grad()
def with_verified_growth(model: nn.Module, network: Network, inputs: tuple[Any, ...]) -> Network:
    """The network with groups frozen that cannot grow after all.

    Groups are tried all at once, then by halves where that fails: few runs where few fail.
    """
    model = _lively(model)
    trial = _Trial(model, network, inputs)
    free = [each for each in dict.fromkeys(network.groups.values()) if each not in network.frozen]
    found: dict[str, str] = {}
    trial.run(free, found)
    return replace(network, frozen=MappingProxyType({**network.frozen, **found}))


def _lively(model: nn.Module) -> nn.Module:
    """A copy with random numbers in place of constants, which hide what goes wrong.

    A fresh model's norms are ones and zeros, and some branches begin with a gain of 1e-6.
    """
    model = sharing_copy(model)
    generator = torch.Generator().manual_seed(0)
    random: dict[int, Tensor] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or not _constant(tensor):
                continue
            if id(tensor) not in random:
                noise = torch.randn(tensor.shape, generator=generator).clamp(-2, 2).to(tensor)
                moved = 0.2 * noise + (tensor if bool((tensor.abs() > 0.1).all()) else 0)
                parameter = isinstance(tensor, nn.Parameter)
                random[id(tensor)] = nn.Parameter(moved) if parameter else moved
            setattr(module, name, random[id(tensor)])
    return model


def _constant(tensor: Tensor) -> bool:
    """Whether a tensor is the same finite number all over."""
    if not tensor.is_floating_point() or tensor.numel() < 2 or tensor.is_meta:
        return False
    first = tensor.flatten()[0]
    return bool(first.isfinite() & (tensor == first).all())


@dataclass(frozen=True)
class _Trial:
    """Growing groups of a model, against what it computes without."""

    model: nn.Module
    network: Network
    inputs: tuple[Any, ...]

    @cached_property
    def outputs(self) -> list[Tensor]:
        """What it computes."""
        return outputs_of(self.model, self.inputs)

    def run(self, groups: Sequence[str], found: dict[str, str]) -> None:
        """Write down which groups fail, and why."""
        failure = self.failure(groups) if groups else None
        if failure is None:
            return
        if len(groups) == 1:
            found[groups[0]] = failure
            return
        middle = len(groups) // 2
        self.run(groups[:middle], found)
        self.run(groups[middle:], found)
        left = [each for each in groups if each not in found]
        if left and (failure := self.failure(left)) is not None:
            found.update(dict.fromkeys(left[len(left) // 2 :], failure))  # only together they fail

    def failure(self, groups: Sequence[str]) -> str | None:
        """What happens when groups grow by a few units each; None where the function stays."""
        try:
            plan = _plan(self.network, groups)
            grown = self.network.resized(plan)
            wider = grow(self.model, self.network, grown, plan, Scheme(), "even", 0)
            check_same_outputs(self.outputs, outputs_of(wider, self.inputs))
        except RunError:
            return "growing it changes what the model computes"
        except Exception as error:  # whatever user code raises when sizes change
            line = lines.raised(error)
            return f"growing it fails{f' ({line})' if line else ''}: {first_line(error)}"
        return None


def _plan(network: Network, groups: Sequence[str]) -> Plan:
    """Each group grown by 2, 4, ... units, or more where its smallest part would not grow."""
    widths = {}
    for i, group in enumerate(groups):
        parts = [s.size for lay in network.outputs.values() for s in lay if s.group == group]
        added = 2 * (1 + i % STEPS)
        widths[group] = min(1 + max(added / max(parts), 2 / min(parts)), WIDEST)
        assert grown_units(min(parts), widths[group]) > min(parts)
    return network.at_widths(widths)
