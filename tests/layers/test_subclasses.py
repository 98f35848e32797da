"""Subclasses of known layers: covered where they compute as their base class does."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrizations

import autoquant
from autoquant.errors import UserError
from autoquant.graph.prepare import prepare
from autoquant.layers import kind_of
from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent
from autoquant.runtime import PackedEmbedding, PackedLinear
from tests.families.cycle import Cycle


class MyLinear(nn.Linear):
    """A subclass that only draws other weights, and has a method of its own."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__(features, units)
        self.note = "mine"

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.3)
        nn.init.normal_(self.bias, std=0.3)

    def largest(self) -> Tensor:
        return self.weight.abs().max()


class MyEmbedding(nn.Embedding):
    pass


class MyConv(nn.Conv1d):
    pass


class MyNorm(nn.BatchNorm1d):
    def _check_input_dim(self, input: Tensor) -> None:
        pass


class MyLstm(nn.LSTM):
    pass


class MyCell(nn.GRUCell):
    pass


class MyAttention(nn.MultiheadAttention):
    pass


class Net(nn.Module):
    """Reads its layers' class, attributes and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv, self.norm = MyEmbedding(9, 6), MyConv(6, 8, 1), MyNorm(8)
        self.first, self.last = MyLinear(8, 6), NonDynamicallyQuantizableLinear(6, 2)

    def forward(self, words: Tensor) -> Tensor:  # [B, T] -> [B, T, 2]
        x = torch.relu(self.norm(self.conv(self.embedding(words).transpose(1, 2))))
        x = self.first(x.transpose(1, 2))
        if not isinstance(self.first, MyLinear) or self.first.note != "mine":
            return x
        return self.last(torch.relu(x)) + 0 * self.first.largest()


WORDS = torch.randint(9, (3, 5), generator=torch.Generator().manual_seed(0))


def test_they_grow_pack_and_reload(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(Net, (WORDS,))
    cycle.check_prepared()
    assert cycle.network.names == ("embedding", "conv", "first", "last")
    assert [norm.name for norm in cycle.network.norms] == ["norm"]
    assert [tensor.name for tensor in cycle.network.unquantized] == ["norm.num_batches_tracked"]
    assert {"embedding", "conv"} <= {*cycle.free}
    cycle.check_packed(cycle.mixed(dict.fromkeys(cycle.free, 1.5)), tmp_path)


def test_they_stay_of_their_class() -> None:
    ready: Any = prepare(net := Net())
    assert type(net.first) is MyLinear
    assert isinstance(ready.first, MyLinear)
    assert isinstance(ready.first, IntegerLinear)
    assert type(ready.first).__name__ == "MyLinear"
    assert type(ready.first) is type(prepare(net).first)  # one class for all instances
    assert type(prepare(ready).first) is type(ready.first)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_they_can_be_copied(copied: Any) -> None:
    ready: Any = prepare(Net()).eval()
    other = copied(ready)
    assert type(other.first) is type(ready.first)
    assert torch.equal(other(WORDS), ready(WORDS))


def test_packed_layers_are_of_their_class_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(Net, (WORDS,))
    plan = cycle.mixed({})
    plan = plan.with_choice("first", weight_bits=4).with_choice("embedding", weight_bits=4)
    cycle.check_packed(plan, tmp_path)
    loaded: Any = autoquant.load(tmp_path / "packed", Net())
    assert isinstance(loaded.first, PackedLinear)
    assert isinstance(loaded.first, MyLinear)
    assert isinstance(loaded.embedding, PackedEmbedding)
    assert isinstance(loaded.embedding, MyEmbedding)
    assert torch.equal(pickle.loads(pickle.dumps(loaded))(WORDS), loaded(WORDS))


@pytest.mark.parametrize(
    ("module", "replacement"),
    [(MyLstm(3, 4), Recurrent), (MyCell(3, 4), RecurrentCell), (MyAttention(4, 2), Attention)],
    ids=["LSTM", "GRUCell", "MultiheadAttention"],
)
def test_recurrent_and_attention_subclasses_are_replaced(
    module: nn.Module, replacement: type[nn.Module]
) -> None:
    assert isinstance(prepare(module), replacement)


class Outside(nn.Module):
    """Its attention is not made of layers; that reads the weight of its last one, uncalled."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Linear(5, 4), nn.Linear(4, 2)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.back(self.attention(x, x, x, need_weights=False)[0])


def test_a_layer_whose_weight_is_read_without_a_call(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(Outside, (torch.randn(6, 3, 5),))
    assert "attention.out_proj" in cycle.network.names
    assert cycle.free == []
    cycle.check_packed(cycle.mixed({}), tmp_path)


# --- what computes something else -----------------------------------------------------------------


class OwnForward(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return -super().forward(input)


class OwnCall(nn.Linear):
    def __call__(self, *args: Any) -> Any:
        return -super().__call__(*args)


class OwnConvolution(nn.Conv1d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean(), bias)


class LowRank(nn.Linear):
    """Its weight is computed at each access."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        del self.weight
        self.left, self.right = nn.Parameter(torch.ones(4, 1)), nn.Parameter(torch.ones(1, 3))

    @property
    def weight(self) -> Tensor:
        return self.left @ self.right


def patched() -> nn.Module:
    module = nn.Linear(3, 4)
    forward = module.forward
    module.forward = lambda input: -forward(input)  # type: ignore[method-assign]
    return module


OTHERS = {
    "forward": lambda: OwnForward(3, 4),
    "call": lambda: OwnCall(3, 4),
    "_conv_forward": lambda: OwnConvolution(3, 4, 1),
    "weight": LowRank,
    "forward of the instance": patched,
    "normed": lambda: parametrizations.weight_norm(OwnForward(3, 4)),
}


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "weight"])
def test_what_computes_something_else_has_no_kind(name: str) -> None:
    module = OTHERS[name]()
    assert kind_of(module) is None
    assert not isinstance(prepare(module), IntegerLinear)


def test_a_computed_weight_has_no_kind() -> None:
    assert kind_of(nn.Module.__new__(LowRank)) is None


# --- parameters -----------------------------------------------------------------------------------


class MyParameter(nn.Parameter):
    pass


def test_a_parameter_of_a_subclass(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
        model[0].weight = MyParameter(model[0].weight.detach().clone())
        return model

    torch.manual_seed(0)
    cycle = Cycle(build, (torch.randn(3, 5),))
    assert cycle.free == ["0"]
    cycle.check_packed(cycle.mixed({"0": 1.5}), tmp_path)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(2))


def test_a_lazy_layer_that_has_seen_an_input(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = lazy()
        model(torch.zeros(1, 5))
        return model

    torch.manual_seed(0)
    cycle = Cycle(build, (torch.randn(3, 5),))
    assert cycle.network.names == ("0", "2")
    cycle.check_packed(cycle.mixed({"0": 1.5}), tmp_path)


def test_a_lazy_layer_that_has_seen_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"0 must have seen an input, got an .* LazyLinear"):
        prepare(lazy())
