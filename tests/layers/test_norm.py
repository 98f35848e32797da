"""Norms follow their channels; those that look across channels need new ones of their own kind."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Segment
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers import kind_of
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.families import libraries

CHANNELS = 6
NORMS: dict[str, tuple[Any, int, list[str]]] = {  # made by, axes behind channels, parameters
    "BatchNorm1d": (
        lambda: nn.BatchNorm1d(CHANNELS),
        1,
        ["weight", "bias", "running_mean", "running_var"],
    ),
    "BatchNorm2d": (
        lambda: nn.BatchNorm2d(CHANNELS),
        2,
        ["weight", "bias", "running_mean", "running_var"],
    ),
    "BatchNorm3d": (
        lambda: nn.BatchNorm3d(CHANNELS),
        3,
        ["weight", "bias", "running_mean", "running_var"],
    ),
    "BatchNorm2d, plain": (
        lambda: nn.BatchNorm2d(CHANNELS, affine=False),
        2,
        ["running_mean", "running_var"],
    ),
    "BatchNorm2d, no statistics": (
        lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False),
        2,
        ["weight", "bias"],
    ),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(CHANNELS, affine=True), 1, ["weight", "bias"]),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(CHANNELS), 2, []),
    "InstanceNorm2d, statistics": (
        lambda: nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True),
        2,
        ["weight", "bias", "running_mean", "running_var"],
    ),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(CHANNELS), 3, []),
    "GroupNorm, 6": (lambda: nn.GroupNorm(6, CHANNELS), 2, ["weight", "bias"]),
    "GroupNorm, 3": (lambda: nn.GroupNorm(3, CHANNELS), 2, ["weight", "bias"]),
    "PReLU": (lambda: nn.PReLU(CHANNELS), 2, ["weight"]),
    "GroupNorm, plain": (lambda: nn.GroupNorm(2, CHANNELS, affine=False), 1, []),
}


class Normed(nn.Module):
    """A norm between two convolutions of single pixels."""

    def __init__(self, dims: int, norm: nn.Module) -> None:
        super().__init__()
        conv = getattr(nn, f"Conv{dims}d")
        self.first, self.norm, self.last = conv(3, CHANNELS, 1), norm, conv(CHANNELS, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


def normed(dims: int, norm: nn.Module) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = Normed(dims, norm)
    x = torch.randn(3, 3, *(4,) * dims)
    with torch.no_grad():
        for tensor in norm.parameters():
            tensor.copy_(1 + 0.3 * torch.randn(tensor.shape))
        model.train()(5 * x + 1)  # statistics
    return prepare(model).eval(), x


@pytest.mark.parametrize("method", ["split", "fresh"])
@pytest.mark.parametrize(("build", "dims", "names"), NORMS.values(), ids=NORMS)
def test_it_follows(build: Any, dims: int, names: list[str], method: str) -> None:
    model, x = normed(dims, build())
    network = describe(model, (x,))
    (norm,) = network.norms
    assert [parameter.name for parameter in norm.parameters] == names
    assert {parameter.role for parameter in norm.parameters} <= {"norm"}
    assert network.outputs["norm"] == network.outputs["first"]
    assert dict(network.frozen) == {"last": "feeds the model's output"}
    choices = {"first": LayerChoice(width=2.0), "last": LayerChoice()}
    grown, promised = widen(model, network, WideningRequest(Plan(choices), Scheme(), method, 0))
    assert check_same_function(model, grown, (x,)) < 1e-5
    units = promised.layers[0].units
    assert units == promised.norms[0].units > CHANNELS
    if isinstance(grown.norm, nn.PReLU):
        assert grown.norm.num_parameters == units == len(grown.norm.weight)
    elif isinstance(grown.norm, nn.GroupNorm):
        assert grown.norm.num_channels == units
        assert grown.norm.num_groups == units * model.norm.num_groups // CHANNELS
    else:
        assert grown.norm.num_features == units


@pytest.mark.parametrize("groups", [2, 3], ids=lambda groups: f"{groups} groups")
def test_units_of_a_group_norm_are_its_groups(groups: int) -> None:
    model, x = normed(2, nn.GroupNorm(groups, CHANNELS))
    network = describe(model, (x,))
    assert network.outputs["first"] == (Segment("first", groups, CHANNELS // groups),)


def test_a_single_group_grows_as_a_whole() -> None:
    model, x = normed(2, nn.GroupNorm(1, CHANNELS))
    network = describe(model, (x,))
    assert network.why_fixed("first") is not None or network.outputs["first"][0].size == 1


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm([CHANNELS, 4, 4]), nn.LocalResponseNorm(2)], ids=["LayerNorm", "local"]
)
def test_what_looks_across_channels_stops_them(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = prepare(Normed(2, norm)).eval()
    network = describe(model, (torch.randn(2, 3, 4, 4),))
    assert "(test_norm.py:" in str(network.why_fixed("first"))
    assert network.norms == ()


# --- norms over all units -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm], ids=lambda norm: norm.__name__)
def test_a_norm_over_all_units_is_described_with_its_eps(norm: Any) -> None:
    module = norm(CHANNELS, eps=0.25)
    spec = kind_of(module).describe("norm", module)
    assert [p.name for p in spec.parameters] == [name for name, _ in module.named_parameters()]
    assert (spec.units, spec.features, spec.blocks, spec.eps) == (CHANNELS, CHANNELS, 1, 0.25)
    grown = spec.resized(2 * CHANNELS, 2 * CHANNELS)
    assert (grown.blocks, grown.eps) == (1, 0.125)
    sizes = {"normalized_shape": (2 * CHANNELS,), "eps": 0.125}
    assert kind_of(module).attributes(grown) == sizes
    assert kind_of(module).attributes(spec) == {}


def test_eps_of_a_batch_norm_stays() -> None:
    module = nn.BatchNorm1d(CHANNELS, eps=0.25)
    spec = kind_of(module).describe("norm", module)
    assert spec.resized(2 * CHANNELS, 2 * CHANNELS).eps == 0.25


@pytest.mark.parametrize(
    "module",
    [
        nn.LayerNorm([3, 4]),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.RMSNorm(4, elementwise_affine=False),
    ],
    ids=["two axes", "LayerNorm without gain", "RMSNorm without gain"],
)
def test_norms_over_units_that_have_no_kind(module: nn.Module) -> None:
    assert kind_of(module) is None


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_rms_norms_of_transformers(name: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers")
    libraries._transformers()
    module_name = f"transformers.models.{name}.modeling_{name}"
    norms = importlib.import_module(module_name)
    module = (norms.LlamaRMSNorm if name == "llama" else norms.T5LayerNorm)(CHANNELS, 0.25)
    spec = kind_of(module).describe("norm", module)
    assert (spec.kind, spec.new_units, spec.eps) == ("rmsnorm", "zeros", 0.25)
    grown = spec.resized(2 * CHANNELS, 2 * CHANNELS)
    assert kind_of(module).attributes(grown) == {"variance_epsilon": 0.125}
