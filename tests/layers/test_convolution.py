"""Convolutions: their axes, and that they grow with what they read, in groups and transposed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.graph.describe import describe, layers_of
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers import kind_of
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme

KINDS = {
    f"{name}{dims}d": (getattr(nn, f"{name}{dims}d"), dims)
    for name in ("Conv", "ConvTranspose")
    for dims in (1, 2, 3)
}


@pytest.mark.parametrize("groups", [1, 2, 4], ids=lambda groups: f"{groups} groups")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", KINDS)
def test_axes_are_the_weights(name: str, groups: int, bias: bool) -> None:
    kind, dims = KINDS[name]
    module = kind(4, 8, tuple(range(2, 2 + dims)), groups=groups, bias=bias)
    (spec,) = layers_of(prepare(module))
    assert (spec.kind, spec.units, spec.features, spec.blocks) == (name.lower(), 8, 4, groups)
    assert spec.count == sum(each.numel() for each in module.parameters())
    for parameter in spec.parameters:
        assert parameter.shape == getattr(module, parameter.name).shape
    known = kind_of(module)
    assert known is not None
    assert getattr(known, "axis", None) == -1 - dims
    assert known.attributes(spec) == {"out_channels": 8, "in_channels": 4, "groups": groups}


class Middle(nn.Module):
    """A convolution between two of single pixels."""

    def __init__(self, dims: int, features: int, units: int, middle: nn.Module) -> None:
        super().__init__()
        conv = getattr(nn, f"Conv{dims}d")
        self.first, self.middle, self.last = conv(3, features, 1), middle, conv(units, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


def grown_by(
    model: nn.Module, inputs: Tensor, width: float, method: str
) -> tuple[Network, nn.Module]:
    """Everything that can grow, grown; the function stays."""
    model = prepare(model).eval()
    network = describe(model, (inputs,))
    choices = {n: LayerChoice(width=1.0 if network.why_fixed(n) else width) for n in network.names}
    grown, promised = widen(model, network, WideningRequest(Plan(choices), Scheme(), method, 0))
    assert check_same_function(model, grown, (inputs,)) < 1e-5
    for layer in promised.layers:
        for parameter in layer.parameters:
            held: Any = getattr(grown.get_submodule(layer.name), parameter.name)
            assert held.shape == parameter.shape
    return network, grown


CASES = {
    "plain": (6, 4, 1),
    "two groups": (6, 4, 2),
    "groups of one channel each way": (6, 6, 6),
    "depthwise, several each": (4, 12, 4),
    "groups that narrow": (12, 4, 4),
}


@pytest.mark.parametrize("method", ["split", "fresh"])
@pytest.mark.parametrize(("features", "units", "groups"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", KINDS)
def test_it_grows(name: str, features: int, units: int, groups: int, method: str) -> None:
    kind, dims = KINDS[name]
    torch.manual_seed(0)
    model = Middle(dims, features, units, kind(features, units, 2, groups=groups))
    network, grown = grown_by(model, torch.randn(2, 3, *(4,) * dims), 2.0, method)
    assert dict(network.frozen) == {"last": "feeds the model's output"}
    assert (network.groups["middle"] == "first") == (groups > 1)
    assert grown.middle.in_channels == 2 * features
    assert grown.middle.out_channels == 2 * units
    assert grown.middle.groups == (2 * groups if groups > 1 else 1)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_options_do_not_matter(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Middle(2, 6, 8, nn.Conv2d(6, 8, 3, **options))
    network, _ = grown_by(model, torch.randn(2, 3, 7, 7), 1.5, "split")
    assert dict(network.frozen) == {"last": "feeds the model's output"}


def test_upsampling_by_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1)
    network, _ = grown_by(Middle(2, 6, 8, up), torch.randn(2, 3, 5, 5), 1.5, "fresh")
    assert dict(network.frozen) == {"last": "feeds the model's output"}


def test_without_a_batch() -> None:
    torch.manual_seed(0)
    model = Middle(1, 6, 4, nn.Conv1d(6, 4, 3))
    network, _ = grown_by(model, torch.randn(3, 9), 1.5, "split")
    assert dict(network.frozen) == {"last": "feeds the model's output"}
