"""Recurrent weights that a wrapper sets before each pass, as in AWD-LSTM."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.analysis.coverage import why_uncovered
from autoquant.graph.prepare import prepare
from tests.families.cycle import Cycle, assert_alike

WORDS = torch.randint(9, (5, 3), generator=torch.Generator().manual_seed(0))


class WeightDrop(nn.Module):
    """That of AWD-LSTM's own code, in what counts here.

    Args:
        module: recurrent.
        names: of its weights that are dropped.
        calls: whether the module is called, instead of its forward.
    """

    def __init__(self, module: nn.Module, names: list[str], *, calls: bool = False) -> None:
        super().__init__()
        self.module, self.names, self.calls = module, names, calls
        for name in names:
            weight = getattr(module, name)
            del module._parameters[name]
            module.register_parameter(f"{name}_raw", nn.Parameter(weight.data))

    def forward(self, *args: Any) -> Any:
        for name in self.names:
            raw = getattr(self.module, f"{name}_raw")
            setattr(self.module, name, F.dropout(raw, 0.5, self.training))
        return self.module(*args) if self.calls else self.module.forward(*args)


class CopyDrop(WeightDrop):
    """As later versions: the raw weight belongs to the wrapper."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        nn.Module.__init__(self)
        self.module, self.names = module, names
        for name in names:
            weight = getattr(module, name)
            delattr(module, name)
            self.register_parameter(f"{name}_raw", nn.Parameter(weight.data))
            setattr(module, name, weight.data.clone())

    def forward(self, *args: Any) -> Any:
        for name in self.names:
            raw = getattr(self, f"{name}_raw")
            setattr(self.module, name, F.dropout(raw, 0.5) if self.training else raw.clone())
        return self.module(*args)


class Net(nn.Module):
    def __init__(self, rnn: nn.Module, directions: int) -> None:
        super().__init__()
        self.words, self.rnn, self.out = nn.Embedding(9, 6), rnn, nn.Linear(8 * directions, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.rnn(self.words(words))[0])


def lstm(*, calls: bool = False) -> nn.Module:
    rnn = nn.LSTM(6, 8, 2, bidirectional=True)
    return Net(WeightDrop(rnn, ["weight_hh_l0", "weight_hh_l1_reverse"], calls=calls), 2)


def gru() -> nn.Module:
    return Net(WeightDrop(nn.GRU(6, 8), ["weight_ih_l0", "weight_hh_l0"]), 1)


MODELS = {"LSTM": lstm, "LSTM, called": lambda: lstm(calls=True), "GRU": gru}


@pytest.mark.parametrize("name", MODELS)
def test_it_grows_packs_and_reloads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(MODELS[name], (WORDS,))
    cycle.check_prepared()
    assert not any("raw" in name for name in cycle.model.state_dict())
    assert dict(cycle.network.frozen) == {"out": "feeds the model's output"}
    cycle.check_packed(cycle.mixed(dict.fromkeys(cycle.free, 1.5)), tmp_path)


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_model_that_has_run_is_prepared_from_its_raw_weights(used: bool) -> None:
    torch.manual_seed(0)
    model = lstm()
    if used:
        model.train()(WORDS).sum().backward()
    ready = prepare(model)
    with torch.no_grad():
        model.get_parameter("rnn.module.weight_hh_l0_raw").mul_(2)
    again = prepare(model)
    first, second = (m.get_parameter("rnn.module.l0.weight_hh") for m in (ready, again))
    assert torch.equal(2 * first, second)


def test_weights_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    ready = prepare(gru())
    assert torch.equal(ready.eval()(WORDS), ready(WORDS))
    torch.manual_seed(1)
    dropped = ready.train()(WORDS)
    assert not torch.equal(dropped, ready(WORDS))
    dropped.sum().backward()
    gradient = ready.get_parameter("rnn.module.l0.weight_hh").grad
    assert gradient is not None
    assert 0.2 < float((gradient == 0).float().mean()) < 0.8
    copy.deepcopy(ready)  # no weight that was computed is left behind


@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")
def test_a_weight_that_is_set_from_elsewhere_stays_in_the_users_module() -> None:
    torch.manual_seed(0)
    model = Net(CopyDrop(nn.LSTM(6, 8), ["weight_hh_l0"]), 1).eval()
    ready = prepare(model).eval()
    with torch.no_grad():
        for each in (model, ready):
            each.get_parameter("rnn.weight_hh_l0_raw").mul_(2)
    assert_alike(ready, model, (WORDS,))
    reason = "LSTM has weights that other code sets"
    assert why_uncovered(ready, "rnn.module.weight_ih_l0") == reason
