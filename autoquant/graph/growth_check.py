"""Growth check: whether groups that no operation froze keep the model's function when they grow.

A forward pass may hold sizes that no recording shows (a constant in a view, a check of a shape). So
every group is grown a little, each by another number of units, and the model is run again on its
example: a group with which it fails, or computes something else, is frozen with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from autoquant.errors import RunError, first_line
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.outputs import check_same_outputs
from autoquant.graph.tracing import lines
from autoquant.graph.widen import WideningRequest, grow, sharing_copy
from autoquant.layers import grown_units
from autoquant.plan import WIDEST, Plan
from autoquant.settings import Scheme

DISTINCT_GROWTHS = 5  # groups grow by different numbers of units, so that one does not fit another


@torch.no_grad()
def with_verified_growth(model: nn.Module, network: Network, run: ExampleRun) -> Network:
    """The network with those groups frozen as well that cannot grow after all.

    Groups are grown all at once, then by halves where that fails: few runs where few fail.

    Args:
        model: as ``prepare`` returns it; it is left as it is.
        network: of the model, as the propagation of widths describes it.
        run: of the example; where it cannot tell models apart, no group grows.
    """
    check = _GrowthCheck(_without_constants(model), network, run)
    groups = [g for g in dict.fromkeys(network.groups.values()) if g not in network.frozen]
    if run.obstacle:
        check.failures.update(dict.fromkeys(groups, f"growth cannot be checked: {run.obstacle}"))
    else:
        check.run(groups)
    return replace(network, frozen=MappingProxyType({**network.frozen, **check.failures}))


def _without_constants(model: nn.Module) -> nn.Module:
    """A copy with random numbers in place of constant tensors, which hide wrong results.

    A fresh model's norms are ones and zeros, and some branches begin with a gain of 1e-6.
    """
    model = sharing_copy(model)
    generator = torch.Generator().manual_seed(0)
    replaced: dict[int, Tensor] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or not _is_constant(tensor):
                continue
            if id(tensor) not in replaced:
                noise = torch.randn(tensor.shape, generator=generator).clamp(-2, 2).to(tensor)
                values = 0.2 * noise + (tensor if bool((tensor.abs() > 0.1).all()) else 0)
                is_parameter = isinstance(tensor, nn.Parameter)
                trained = tensor.requires_grad
                replaced[id(tensor)] = nn.Parameter(values, trained) if is_parameter else values
            setattr(module, name, replaced[id(tensor)])
    return model


def _is_constant(tensor: Tensor) -> bool:
    """Whether all entries of a tensor are the same finite number."""
    if not tensor.is_floating_point() or tensor.numel() < 2 or tensor.is_meta:
        return False
    first = tensor.flatten()[0]
    return bool(first.isfinite() & (tensor == first).all())


@dataclass(frozen=True)
class _GrowthCheck:
    """Growing groups of a model, and comparing its outputs with those before.

    Attributes:
        model: without constant tensors.
        network: of the model.
        example: of one forward pass.
        failures: groups that fail, and why; those found so far.
    """

    model: nn.Module
    network: Network
    example: ExampleRun
    failures: dict[str, str] = field(default_factory=dict)

    @cached_property
    def outputs(self) -> list[Tensor]:
        """What the model computes before it grows."""
        return self.example.outputs(self.model)

    def run(self, groups: Sequence[str]) -> None:
        """Add the groups that fail to ``failures``.

        Args:
            groups: those to grow.
        """
        failure = self.failure(groups) if groups else None
        if failure is None:
            return
        if len(groups) == 1:
            self.failures[groups[0]] = failure
            return
        middle = len(groups) // 2
        self.run(groups[:middle])
        self.run(groups[middle:])
        remaining = [group for group in groups if group not in self.failures]
        if remaining and (failure := self.failure(remaining)) is not None:  # only together
            self.failures.update(dict.fromkeys(remaining[len(remaining) // 2 :], failure))

    def failure(self, groups: Sequence[str]) -> str | None:
        """Why the function is not kept when groups grow by a few units each; None where it is.

        Args:
            groups: those to grow together.
        """
        try:
            plan = _growth_plan(self.network, groups)
            grown = self.network.resized(plan)
            request = WideningRequest(plan, Scheme(), "even", seed=0)
            wider = grow(self.model, self.network, grown, request)
            check_same_outputs(self.outputs, self.example.outputs(wider))
        except RunError:
            return "growing it changes what the model computes"
        except Exception as error:  # whatever user code raises when sizes change
            line = lines.raised(error)
            return f"growing it fails{f' ({line})' if line else ''}: {first_line(error)}"
        return None


def _growth_plan(network: Network, groups: Sequence[str]) -> Plan:
    """Each group grown by 2, 4, ... units, or more where its smallest part would not grow."""
    widths = {}
    for i, group in enumerate(groups):
        segments = [s for layout in network.outputs.values() for s in layout if s.group == group]
        sizes = [segment.size for segment in segments]
        added = 2 * (1 + i % DISTINCT_GROWTHS)
        if any(segment.new_units != "copies" for segment in segments):  # few units hardly show
            added += max(sizes) // 4
        widths[group] = min(1 + max(added / max(sizes), 2 / min(sizes)), WIDEST)
        assert grown_units(min(sizes), widths[group]) > min(sizes)
    return network.at_widths(widths)
