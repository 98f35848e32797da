"""Models that do something else with other modules in place of theirs are refused at the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.analysis.model_info import inspect_search, profile
from autoquant.errors import UserError
from autoquant.settings import Search
from autoquant.study.folder import Study
from autoquant.tasks.supervised import SupervisedTask
from tests.graph.tracing.lines import here


class Net(nn.Module):
    """One of each replaced module; the forward pass comes from outside."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 8, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(16, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.table = nn.Embedding(4, 8)
        self.out = nn.Linear(8, 3)
        self._run = forward

    def forward(self, x: Tensor) -> Any:
        return self._run(self, x)


def plain(m: Any, x: Tensor) -> Tensor:
    rows, _ = m.rnn(x[:, None])
    h, _ = m.cell(rows[:, 0])
    h, _ = m.attention(h[:, None], h[:, None], h[:, None])
    return m.out(h[:, 0] + m.table(x[:, 0].gt(0).long()))


def asks_for_instances(m: Any, x: Tensor) -> Tensor:
    kinds = nn.GRU, nn.LSTMCell, nn.MultiheadAttention, nn.Embedding, nn.Linear
    modules = m.rnn, m.cell, m.attention, m.table, m.out
    known = all(isinstance(module, kind) for module, kind in zip(modules, kinds, strict=True))
    return plain(m, x) if known else -plain(m, x)


def reads_what_torch_has(m: Any, x: Tensor) -> Tensor:
    assert (m.rnn.mode, m.rnn.bias, m.rnn.bidirectional) == ("GRU", True, True)
    assert [len(weights) for weights in m.rnn.all_weights] == [4, 4]
    read = m.rnn.weight_ih_l0_reverse.sum() + m.cell.bias_ih.sum() + m.cell.bias_hh.sum()
    biases = m.rnn.bias_ih_l0 + m.rnn.bias_hh_l0
    return plain(m, x) + read + biases.sum() + m.out.weight.sum() + m.table.weight.sum()


def asks_for_a_class(m: Any, x: Tensor) -> Tensor:
    y = plain(m, x)
    return y if type(m.out) is nn.Linear else -y  # here


def asks_for_a_recurrent_class(m: Any, x: Tensor) -> Tensor:
    return plain(m, x) if type(m.rnn) is nn.GRU else m.rnn.no_such_thing  # here


def asks_what_is_quantized(m: Any, x: Tensor) -> Tensor:
    y = plain(m, x)
    return y * 2 if hasattr(m.out, "parametrizations") else y  # here


def asks_what_is_packed(m: Any, x: Tensor) -> Tensor:
    y = plain(m, x)
    return y * 2 if hasattr(m.out, "packed") else y  # here


def structured(m: Any, x: Tensor) -> Any:
    x -= 0.5  # in place
    return {"none": None, "logits": F.dropout(plain(m, x), 0.3)}


def loss(output: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(output["logits"] if isinstance(output, dict) else output, targets)


def task(forward: Callable[[Any, Tensor], Any]) -> SupervisedTask:
    torch.manual_seed(0)
    net, data = Net(forward), (torch.randn(12, 6), torch.arange(12) % 3)
    return SupervisedTask(net, data, data, data, loss=loss, score="loss", batch_size=4)


def inspect(forward: Callable[[Any, Tensor], Any], folder: Path) -> None:
    inspect_search(task(forward), Search(), Study(folder))


@pytest.mark.parametrize(
    "forward",
    [plain, asks_for_instances, reads_what_torch_has, structured],
    ids=lambda f: f.__name__,
)
def test_models_that_stay_the_same(forward: Any, tmp_path: Path) -> None:
    inspect(forward, tmp_path)


@pytest.mark.parametrize(
    ("forward", "what"),
    [
        (asks_for_a_class, "autoquant's layers"),
        (asks_for_a_recurrent_class, "autoquant's layers"),
        (asks_what_is_quantized, "quantized layers"),
        (asks_what_is_packed, "layers of a packed file"),
    ],
    ids=["class", "recurrent class", "quantized", "packed"],
)
def test_models_that_do_something_else(forward: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"must compute the same with {what} in place") as error:
        inspect(forward, tmp_path / "study")
    assert here(forward)[1:-1] in str(error.value)
    assert not (tmp_path / "study").exists()


def test_profile_refuses_them_too() -> None:
    with pytest.raises(UserError, match="autoquant's layers"):
        profile(task(asks_for_a_class))


def test_randomness_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr("autoquant.analysis.replacement_check.log.disabled", False)
    inspect(structured, tmp_path)
    (message,) = caplog.messages
    assert message.startswith("the model's outputs are random in eval mode (test_replacement")
