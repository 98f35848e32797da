"""Parameters that the user froze stay as they are in training, whatever becomes of their layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme, Training
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate
from tests.families.cycle import Fixed
from tests.toys import plan_of


class Between(nn.Module):
    """A layer between two linear ones; of its outputs the first counts."""

    def __init__(self, inner: nn.Module, *, channels_first: bool = False) -> None:
        super().__init__()
        self.front, self.inner, self.back = nn.Linear(5, 6), inner, nn.Linear(6, 3)
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:  # [T, B, 5]
        x = torch.tanh(self.front(x))
        if isinstance(self.inner, nn.LSTM | nn.GRU) or hasattr(self.inner, "layers"):
            return self.back(self.inner(x)[0])
        if hasattr(self.inner, "head_dim"):
            return self.back(self.inner(x, x, x)[0])
        if self.channels_first:
            return self.back(self.inner(x.transpose(1, 2)).transpose(1, 2))
        return self.back(self.inner(x))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: Between(nn.Linear(6, 6)),
    "Conv1d": lambda: Between(nn.Conv1d(6, 6, 1), channels_first=True),
    "BatchNorm1d": lambda: Between(nn.BatchNorm1d(6), channels_first=True),
    "LSTM": lambda: Between(nn.LSTM(6, 6)),
    "LSTM projection": lambda: Between(nn.LSTM(6, 8, proj_size=3, bidirectional=True)),
    "GRU": lambda: Between(nn.GRU(6, 6, 2)),
    "attention": lambda: Between(nn.MultiheadAttention(6, 2)),
    "weight norm": lambda: Between(parametrizations.weight_norm(nn.Linear(6, 6))),
    "old weight norm": lambda: Between(weight_norm(nn.Linear(6, 6))),
    "old spectral norm": lambda: Between(spectral_norm(nn.Linear(6, 6))),
}
INPUTS = (torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)),)

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


def candidate_of(model: nn.Module, width: float, **options: Any) -> tuple[nn.Module, Fixed]:
    """The model with every group that can grow at a width, quantized."""
    ready = prepare(model).eval()
    network = describe(ready, INPUTS)
    free = [name for name in network.names if network.why_fixed(name) is None]
    widths = {name.replace(".", "__"): width for name in free}
    assert widths
    plan = plan_of(network, LayerChoice(8, 8), **widths)
    task = Fixed(lambda: model, INPUTS)
    options = {"method": "split"} | options
    return build_candidate(ready, network, plan, Scheme(), task, seed=0, **options), task


def values(model: nn.Module) -> dict[str, Tensor]:
    """Parameters of a quantized model, without the scales of its activations."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if "quantizer" not in name
    }


@pytest.mark.parametrize("width", [1.0, 1.5], ids=["as it is", "grown"])
@pytest.mark.parametrize("name", MODELS)
def test_they_do_not_move(name: str, width: float) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    model.get_submodule("inner").requires_grad_(False)
    candidate, task = candidate_of(model, width)
    before = values(candidate)
    train(candidate.train(), task, Training(steps=3, lr=1e-2), seed=0)
    moved = {key for key, value in values(candidate).items() if not torch.equal(value, before[key])}
    assert {key.partition(".")[0] for key in moved} == {"front", "back"}
    assert any(key.startswith("inner.") for key in before)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_frozen_is_trained(name: str) -> None:
    torch.manual_seed(0)
    candidate, _ = candidate_of(MODELS[name](), 1.5)
    assert all(parameter.requires_grad for parameter in candidate.parameters())


def test_drawing_grown_weights_anew_leaves_frozen_ones() -> None:
    torch.manual_seed(0)
    model = MODELS["Linear"]()
    model.get_submodule("inner").requires_grad_(False)
    weight = model.get_parameter("inner.weight")
    candidate, _ = candidate_of(model, 1.5, untrained=True)
    parametrized: Any = candidate.get_submodule("inner.parametrizations")
    rows = parametrized.weight.original.detach()
    assert torch.equal(rows[:6, :3], weight[:, :3] / 2)  # each column is split in two


@pytest.mark.parametrize("frozen", ["bias_ih", "bias_hh"])
def test_a_sum_of_biases_is_trained_if_one_of_them_is(frozen: str) -> None:
    rnn = nn.GRU(5, 4)
    rnn.get_parameter(f"{frozen}_l0").requires_grad_(False)
    trained = {name: p.requires_grad for name, p in prepare(rnn).named_parameters()}
    assert trained["l0.bias"]
    assert trained["l0.bias_hn"] == (frozen == "bias_ih")
    rnn.get_parameter("bias_ih_l0").requires_grad_(False)
    rnn.get_parameter("bias_hh_l0").requires_grad_(False)
    assert not prepare(rnn).get_parameter("l0.bias").requires_grad


@torch.no_grad()
def test_preparing_without_gradients_freezes_nothing() -> None:
    attention = prepare(nn.MultiheadAttention(6, 2))
    assert all(parameter.requires_grad for parameter in attention.parameters())
