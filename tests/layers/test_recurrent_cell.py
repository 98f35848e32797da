"""``RecurrentCell`` against torch's cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme

BATCH, FEATURES, UNITS = 3, 4, 6
CELLS: dict[str, tuple[type[nn.RNNCellBase], dict[str, Any]]] = {
    "LSTM": (nn.LSTMCell, {}),
    "LSTM, no bias": (nn.LSTMCell, {"bias": False}),
    "GRU": (nn.GRUCell, {}),
    "GRU, no bias": (nn.GRUCell, {"bias": False}),
    "RNN": (nn.RNNCell, {}),
    "RNN, ReLU": (nn.RNNCell, {"nonlinearity": "relu"}),
}


def pair(name: str) -> tuple[nn.RNNCellBase, RecurrentCell]:
    torch.manual_seed(0)
    kind, options = CELLS[name]
    theirs = kind(FEATURES, UNITS, **options)
    ours = prepare(theirs)
    assert isinstance(ours, RecurrentCell)
    return theirs, ours


def state_of(cell: nn.Module, *lead: int, units: int = UNITS) -> Any:
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(*lead, units, generator=generator) for _ in range(2)]
    return tuple(parts) if isinstance(cell, nn.LSTMCell) else parts[0]


def assert_close(result: Any, expected: Any) -> None:
    """One bias here is the sum of two there."""
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lead", [(BATCH,), ()], ids=["batch", "single"])
@pytest.mark.parametrize("given", [True, False], ids=["state", "no state"])
@torch.no_grad()
def test_same_step(name: str, lead: tuple[int, ...], given: bool) -> None:
    theirs, ours = pair(name)
    inputs = torch.randn(*lead, FEATURES)
    state = state_of(theirs, *lead) if given else None
    assert_close(ours(inputs, state), theirs(inputs, state))


@pytest.mark.parametrize("name", CELLS)
def test_same_gradients_over_steps(name: str) -> None:
    theirs, ours = pair(name)
    inputs = torch.randn(4, BATCH, FEATURES)

    def gradient(cell: nn.Module) -> Tensor:
        cell.zero_grad()
        state = None
        for step in inputs:
            state = cell(step, state)
        output = state[0] if isinstance(state, tuple) else state
        output.square().sum().backward()
        weight: Any = cell.weight_hh
        return weight.grad

    torch.testing.assert_close(gradient(ours), gradient(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "state", "rule"),
    [
        (torch.randn(BATCH, 5), None, r"inputs of a cell must be \[B, 4\], got \[3, 5\]"),
        (torch.randn(2, BATCH, 4), None, r"inputs of a cell must be \[B, 4\], got \[2, 3, 4\]"),
        (torch.randn(BATCH, 4), torch.randn(BATCH, 5), r"must be .*\[3, 5\]"),
        (torch.randn(BATCH, 4), torch.randn(2, 6), r"must be .*\[2, 6\]"),
    ],
    ids=["features", "time", "state's width", "state's batch"],
)
def test_wrong_shapes(inputs: Tensor, state: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        pair("GRU")[1](inputs, state)


class Loop(nn.Module):
    """A cell between two layers; the first state may be given, as wide as the cell was made."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.enter, self.last = nn.Linear(5, FEATURES), nn.Linear(UNITS, 2)
        self.cell = getattr(nn, kind)(FEATURES, UNITS)

    def forward(self, x: Tensor, state: Any = None) -> Tensor:  # [T, B, 5]
        for step in x:
            state = self.cell(torch.relu(self.enter(step)), state)
        return self.last(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("method", ["split", "fresh"])
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@torch.no_grad()
def test_it_grows_and_takes_a_state_of_the_old_width(kind: str, method: str) -> None:
    torch.manual_seed(0)
    model = prepare(Loop(kind)).eval()
    inputs = torch.randn(4, BATCH, 5)
    network = describe(model, (inputs,))
    assert dict(network.frozen) == {"last": "feeds the model's output"}
    widths = {"enter": 1.5, "cell": 5 / 3, "last": 1.0}
    plan = Plan({name: LayerChoice(width=width) for name, width in widths.items()})
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    assert (grown.cell.hidden_size, grown.cell.input_size) == (10, 6)
    state = state_of(getattr(nn, kind)(1, 1), BATCH)
    for given in (None, state):
        torch.testing.assert_close(grown(inputs, given), model(inputs, given), atol=1e-5, rtol=0)
