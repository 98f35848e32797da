"""Rules for scales: the names, and one that is added from outside the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autoquant.artifact import manifest, packed_file
from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.quantization.codes import Grid
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.quantization.scale_rules import rule_named
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.toys import RegressionTask, output_of, plan_of, prepared

OWN = """
from torch import Tensor

class Widest:
    learned = True

    def initial_scale(self, weight, grid, *, per_channel):
        rows = weight.detach().abs().flatten(1) if per_channel else weight.detach().abs()[None]
        return (rows.amax(-1) / grid.max_level).view(-1, *[1] * (weight.ndim - 1))

    def compute_scale(self, weight, grid, magnitude):
        raise AssertionError
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody's module with a rule, on the import path."""
    (tmp_path / "somebodys_rules.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "somebodys_rules", raising=False)
    return "somebodys_rules.Widest"


def test_a_rule_from_outside_is_used_and_its_file_reloads(own: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model, network = prepared(source)
    plan, scheme = plan_of(network, LayerChoice(3, 8)), Scheme(scale=own)
    inputs = torch.randn(4, 2, 6)
    task = RegressionTask(source, inputs)
    built = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    quantizer: WeightQuantizer = built[0].parametrizations.weight[0]  # type: ignore
    largest = source[0].weight.detach().abs().amax(1, keepdim=True)
    widest: Tensor = quantizer.log_scale.exp()
    torch.testing.assert_close(widest, largest / Grid.signed(3).max_level)
    size = packed_file.save(tmp_path / "packed", built, network, plan, scheme)
    assert size == manifest.size_bytes(network, plan, scheme)
    loaded = packed_file.load(tmp_path / "packed", source)
    assert torch.equal(output_of(loaded, inputs), output_of(built, inputs))


def test_the_mean_reaches_as_far_whatever_the_levels() -> None:
    """2.5 means from the lowest level to the highest: three levels stand 1.25 means apart."""
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    for bits in (1, 1.6, 2, 4):
        grid = Grid.signed(bits, "midrise")
        scale = rule_named("mean").compute_scale(weight, grid, None)  # type: ignore[union-attr]
        assert float(scale * (grid.qmax - grid.qmin)) == pytest.approx(2.5 * weight.abs().mean())
    quantizer = WeightQuantizer(weight, 1.6, Scheme(scale="mean", granularity="tensor"))
    levels = (quantizer(weight) / weight.abs().mean()).unique()
    assert levels.tolist() == pytest.approx([-1.25, 0, 1.25], rel=0.01)


def test_three_levels_start_where_the_error_is_least() -> None:
    """Of normal numbers at 1.224 deviations (Max 1960, table I), with an error of 0.190."""
    weight = torch.randn(4, 20000, generator=torch.Generator().manual_seed(0))
    quantizer = WeightQuantizer(weight, 1.6, Scheme())
    scale = quantizer.scale(weight)
    assert scale.shape == (4, 1)
    assert scale.flatten().tolist() == pytest.approx([1.224] * 4, rel=0.02)
    error = (quantizer(weight) - weight).detach().square().mean()
    assert float(error) == pytest.approx(0.190, rel=0.02)


COMPUTED = """
class OneForAll:
    def compute_scale(self, weight, grid, magnitude):
        return weight.detach().abs().max() / grid.max_level

class OneARow:
    def compute_scale(self, weight, grid, magnitude):
        return weight.detach().abs().amax(1, keepdim=True) / grid.max_level
"""


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_a_computed_scale_has_the_shape_that_is_stored(
    granularity: str, own: str, tmp_path: Path
) -> None:
    (tmp_path / "somebodys_rules.py").write_text(COMPUTED)
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, 3))
    name = "somebodys_rules.OneForAll"
    quantizer = WeightQuantizer(weight, 4, Scheme(scale=name, granularity=granularity))
    rows = 5 if granularity == "channel" else 1
    assert quantizer.scale(weight).shape == (rows, 1)
    stored = quantizer.stored(weight)
    assert stored[".scale"].numel() == rows
    name = "somebodys_rules.OneARow"
    quantizer = WeightQuantizer(weight, 4, Scheme(scale=name, granularity=granularity))
    if granularity == "channel":
        assert quantizer.scale(weight).shape == (5, 1)
        return
    words = r"must compute 1 scale or 1 for a weight \[5, 3\] .*, got \[5, 1\]"
    with pytest.raises(UserError, match=words):
        quantizer.scale(weight)


@pytest.mark.parametrize("path", ["nowhere.Rule", "json.Rule", "json.JSONEncoder"])
def test_a_rule_that_is_not_there(path: str) -> None:
    with pytest.raises(UserError, match=r"quantizer\.scale must be a rule or its import path"):
        rule_named(path)


def test_a_name_that_is_none() -> None:
    with pytest.raises(UserError, match="one of fixed, learned, mean, or an import path, got"):
        Scheme(scale="lsq")
