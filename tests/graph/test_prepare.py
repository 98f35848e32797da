"""``prepare`` makes plain weights of computed ones: weight norm, spectral norm, any other."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.layers.stack import Recurrent
from tests.families.cycle import Cycle

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


class Drop(nn.Module):
    """DropConnect: weights are dropped in training."""

    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, 0.5, self.training)


def dropped(module: nn.Module, name: str = "weight") -> nn.Module:
    return parametrize.register_parametrization(module, name, Drop())


REPARAMETRIZATIONS: dict[str, Callable[..., nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "old weight norm": weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": spectral_norm,
    "dropped": dropped,
}
LAYERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Linear": (lambda: nn.Linear(6, 6), "weight"),
    "Conv1d": (lambda: nn.Conv1d(5, 6, 3, groups=1), "weight"),
    "LSTM": (lambda: nn.LSTM(6, 4), "weight_hh_l0"),
    "GRU": (lambda: nn.GRU(6, 4, bidirectional=True), "weight_ih_l0_reverse"),
}


def first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


@pytest.mark.parametrize("method", REPARAMETRIZATIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_function_and_names_are_those_of_a_plain_layer(layer: str, method: str) -> None:
    torch.manual_seed(0)
    build, name = LAYERS[layer]
    model = nn.Sequential(REPARAMETRIZATIONS[method](build(), name))
    inputs = torch.randn(3, 5, 6)
    first(model.train()(inputs)).sum().backward()  # old weight norm keeps its weight's graph
    model.eval()
    before = copy.deepcopy(model.state_dict())
    ready = prepare(model).eval()
    expected = first(model(inputs))
    torch.testing.assert_close(first(ready(inputs)), expected, atol=1e-6, rtol=0)
    assert ready.state_dict().keys() == prepare(nn.Sequential(build())).state_dict().keys()
    assert all(weight.is_leaf and weight.requires_grad for weight in ready.parameters())
    after = model.state_dict()  # the user's model is as it was, and still computes its weight
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(first(model(inputs)), expected)


def test_one_line_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as Hydra leaves it once a command has run
    monkeypatch.setattr("autoquant.graph.prepare.log.disabled", False)
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4), weight_norm(nn.Linear(4, 2))
    )
    with caplog.at_level(logging.INFO):
        prepare(model)
    (record,) = caplog.records
    assert record.message == "what these compute their weights from is baked into them: 0, 2"


def test_nothing_is_logged_of_plain_models(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        prepare(nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)))
    assert not caplog.records


def test_training_or_not_the_weight_is_that_of_eval() -> None:
    model = dropped(nn.Linear(6, 6)).train()
    weight: Any = prepare(model).weight
    held: Any = model.parametrizations
    assert torch.equal(weight, held.weight.original)
    assert held.weight.training


def test_a_model_that_is_the_layer_itself() -> None:
    assert isinstance(
        prepare(parametrizations.weight_norm(nn.LSTM(4, 4), "weight_hh_l0")), Recurrent
    )


def test_no_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)))
    weight: Any = prepare(model)[0].weight
    assert weight.is_meta


class Normed(nn.Module):
    """As wav2vec2's positions: a grouped convolution with a norm for each kernel position."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Conv1d(3, 8, 1))
        conv = nn.Conv1d(8, 8, 3, padding=1, groups=4)
        self.positions = parametrizations.weight_norm(conv, dim=2)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last((x + F.gelu(self.positions(x))).mean(2))


def test_it_grows_packs_and_reloads(tmp_path: Any) -> None:
    torch.manual_seed(0)
    cycle = Cycle(Normed, (torch.randn(3, 3, 7),))
    cycle.check_prepared()
    assert cycle.free == ["first"]
    assert describe(cycle.model, cycle.inputs).unquantized == ()
    cycle.check_packed(cycle.mixed({"first": 1.5}), tmp_path)
