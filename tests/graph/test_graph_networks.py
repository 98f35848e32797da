"""Networks on graphs, written by hand: nodes are rows, messages are gathered and added up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.families.cycle import Cycle

NODES, FEATURES = 7, 5
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 2], [1, 2, 0, 4, 3, 6, 5, 1]])  # from, to
INPUTS = (torch.randn(NODES, FEATURES, generator=torch.Generator().manual_seed(0)), EDGES)


class Convolution(nn.Module):
    """A graph convolution: sums of linear maps of neighbours, divided by degrees.

    Args:
        features: of a node.
        units: of a node, after it.
        add: adds messages [edges, units] to the nodes that they go to.
    """

    def __init__(self, features: int, units: int, add: Callable[..., Tensor]) -> None:
        super().__init__()
        self.linear, self.add = nn.Linear(features, units), add

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        degrees = torch.bincount(target, minlength=len(nodes)).clamp_min(1).to(nodes.dtype)
        messages = self.linear(nodes)[source] / degrees[target][:, None]
        return self.add(messages, target, len(nodes))


def index_add(messages: Tensor, target: Tensor, count: int) -> Tensor:
    return messages.new_zeros(count, messages.shape[1]).index_add(0, target, messages)


def scatter_add(messages: Tensor, target: Tensor, count: int) -> Tensor:
    places = target[:, None].expand_as(messages)
    return messages.new_zeros(count, messages.shape[1]).scatter_add_(0, places, messages)


def scatter_mean(messages: Tensor, target: Tensor, count: int) -> Tensor:
    places = target[:, None].expand_as(messages)
    zeros = messages.new_zeros(count, messages.shape[1])
    return zeros.scatter_reduce(0, places, messages, "mean", include_self=False)


def sparse_product(messages: Tensor, target: Tensor, count: int) -> Tensor:
    places = torch.stack([target, torch.arange(len(target))])
    shape = (count, len(target))
    matrix = torch.sparse_coo_tensor(places, torch.ones(len(target)), shape, check_invariants=False)
    return torch.sparse.mm(matrix, messages)


class Attention(nn.Module):
    """Messages weighted by a softmax over the edges that go to a node."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.linear, self.score = nn.Linear(features, units), nn.Linear(2 * units, 1)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        values = self.linear(nodes)
        pairs = torch.cat([values[source], values.index_select(0, target)], 1)
        weights = torch.exp(torch.tanh(self.score(pairs)))  # [edges, 1]
        return index_add(values[source] * weights, target, len(nodes)) / (
            index_add(weights, target, len(nodes)) + 1e-6
        )


class Net(nn.Module):
    def __init__(self, layer: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.one, self.norm, self.two = layer(FEATURES, 8), nn.BatchNorm1d(8), layer(8, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        nodes = torch.relu(self.norm(self.one(nodes, edges)))
        return self.out(torch.relu(self.two(nodes, edges)).mean(0, keepdim=True))


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    function.__name__: lambda features, units, add=function: Convolution(features, units, add)
    for function in (index_add, scatter_add, scatter_mean, sparse_product)
}
LAYERS["attention"] = Attention


@pytest.mark.parametrize("name", LAYERS)
def test_it_grows_packs_and_reloads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(lambda: Net(LAYERS[name]), INPUTS)
    cycle.check_prepared()
    assert cycle.free == ["one.linear", "two.linear"]
    plan: Any = cycle.mixed(dict.fromkeys(cycle.free, 1.5))
    cycle.check_packed(plan, tmp_path)
