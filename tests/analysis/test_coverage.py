"""Coverage: what a plan chooses bits for, and why the rest is kept in float."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import autoquant
from autoquant.analysis.coverage import Coverage, coverage_of, why_uncovered
from autoquant.analysis.model_info import profile
from autoquant.cli import output
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.tasks.supervised import SupervisedTask


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class OwnLstm(nn.LSTM):
    def forward(self, input: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        return super().forward(2 * input, hx)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.own, self.gain = Doubled(8, 8), nn.Parameter(torch.ones(8))
        self.register_buffer("table", torch.zeros(5, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.own(self.norm(self.first(x))) * self.gain)


def covered(model: nn.Module) -> Coverage:
    ready = prepare(model)
    return coverage_of(ready, describe(ready, None))


def test_bytes_and_shares_add_up() -> None:
    model = Net()
    coverage = covered(model)
    state = model.state_dict()
    total = sum(tensor.numel() for tensor in state.values())
    layers = sum(state[n].numel() for n in state if n.startswith(("first", "last")))
    assert coverage.share == layers / total
    assert coverage.norm_share == 4 * 8 / total
    assert coverage.norm_bytes == 4 * 8 * 4
    assert coverage.uncovered_bytes == 4 * (8 * 8 + 8 + 8) + 8 * (5 + 1)
    assert str(coverage) == (
        "a plan chooses bits for 41.2% of the parameters; kept in float: norms 128 B, "
        "others 368 B, the largest: own.weight 256 B (Doubled has a forward of its own), "
        "table 40 B (a buffer of Net), gain 32 B (a parameter of Net itself)"
    )


def test_a_model_that_is_covered_as_a_whole() -> None:
    assert str(covered(nn.Linear(3, 4))) == (
        "a plan chooses bits for 100.0% of the parameters; kept in float: norms 0 B, others 0 B"
    )


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


WHY = {
    "layer norm": (lambda: nn.LayerNorm(4), "weight", "LayerNorm is kept in float"),
    "unknown": (Odd, "weight", "Odd is no known layer"),
    "LSTM": (lambda: OwnLstm(4, 4), "weight_ih_l0", "OwnLstm has a forward of its own"),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
        "bias_k",
        "MultiheadAttention has add_bias_kv or add_zero_attn",
    ),
    "parametrized": (
        lambda: parametrizations.weight_norm(Doubled(4, 4)),
        "parametrizations.weight.original1",
        "Doubled has a forward of its own",
    ),
}


@pytest.mark.parametrize("name", WHY)
def test_reasons(name: str) -> None:
    build, tensor, reason = WHY[name]
    model = prepare(nn.Sequential(build(), nn.Linear(4, 4)))
    assert f"0.{tensor}" in model.state_dict()
    assert why_uncovered(model, f"0.{tensor}") == reason


# --- where it is shown ----------------------------------------------------------------------------


def task() -> SupervisedTask:
    def data(seed: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(seed))
        return x, x[:, :3].argmax(1)

    return SupervisedTask(Net, data(0), data(1), data(2))


def test_the_profile_shows_it() -> None:
    measured = profile(task())
    assert "own.weight 256 B (Doubled has a forward of its own)" in str(measured)
    text = output.profile_answer(measured).text
    assert f"A{str(measured.coverage)[1:]}" in text.splitlines()
    assert '"uncovered_bytes": 368' in measured.to_json()


def test_a_budget_that_is_too_small_shows_it(tmp_path: Any) -> None:
    settings = autoquant.Search(budget="100B")
    with pytest.raises(UserError, match=r"budget must be at least .*own\.weight 256 B \(Doubled"):
        autoquant.search(task(), settings, study=tmp_path / "study", progress=False)
