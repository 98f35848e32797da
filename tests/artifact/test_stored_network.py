"""A network in a file: the one that was stored, as far as sizes follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from autoquant.artifact.stored_network import decode_network, encode_network
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.layers import LayerSpec
from tests import toys
from tests.artifact.spotter import Spotter, spectra


class Joined(nn.Module):
    """Units of two layers side by side, attention, groups of channels, and a shared table."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.one, self.two = nn.Linear(8, 4), nn.Linear(8, 6)
        self.grouped = nn.Sequential(nn.Conv1d(10, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8))
        self.tied = nn.Linear(8, 9, bias=False)
        self.tied.weight = self.words.weight

    def forward(self, words: Tensor) -> Tensor:
        values = self.words(words)
        values = values + self.attention(values, values, values)[0]
        both = torch.cat([self.one(values).relu(), self.two(values)], -1)
        return self.tied(self.grouped(both.transpose(1, 2)).transpose(1, 2))


NETWORKS: dict[str, Callable[[], Network]] = {
    "language model": lambda: toys.described(prepare(toys.language_model())),
    "deep speech": lambda: toys.described(prepare(toys.deep_speech())),
    "two-way stack": lambda: toys.described(prepare(toys.stack(layers=2, bidirectional=True))),
    "projected": lambda: toys.described(prepare(toys.stack(layers=2, projection=4))),
    "spotter": lambda: describe(prepare(Spotter().eval()), (spectra(),)),
    "no example": lambda: describe(prepare(Spotter().eval()), None),
    "joined": lambda: describe(prepare(Joined().eval()), (torch.arange(6).view(2, 3),)),
}


def without_eps(layers: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
    """Its value stands beside the plan."""
    return tuple(replace(x, eps=None if x.eps is None else 0.0) for x in layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_follow_as_from_the_network_that_was_stored(name: str) -> None:
    network = NETWORKS[name]()
    stored = decode_network(json.loads(json.dumps(encode_network(network))))
    assert stored.layers == network.layers
    assert stored.norms == without_eps(network.norms)
    assert stored.unquantized == network.unquantized
    free = [g for g in dict.fromkeys(network.groups.values()) if g not in network.frozen]
    assert (not free) == (name == "no example")
    assert {*network.groups.values()} - {*free} == {*stored.frozen}
    for number, group in enumerate(free):
        widths = {group: 2.0} | dict.fromkeys(free[:number], 1.5)
        plan = network.at_widths(widths)
        assert stored.resized(plan).sizes() == network.resized(plan).sizes() != {}


def test_a_layer_as_text() -> None:
    network = NETWORKS["projected"]()
    rows = {row[0]: row for row in encode_network(network)["layers"]}
    assert rows["rnn.l0"] == [
        *("rnn.l0", "lstm", 4, 4, 1, 1, 3),
        [
            ["weight_ih", "w f24x4 i4", ""],
            ["weight_hh", "r f24x4 h4", ""],
            ["bias", "b f24x4", ""],
            ["weight_hr", "r o4 f6", ""],
        ],
        *("0:4", "1:4", 1),
    ]
