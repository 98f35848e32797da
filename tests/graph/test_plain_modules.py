"""Pruning masks, max_norm and sparse gradients in the copy that ``prepare`` makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoquant.graph.describe import describe
from autoquant.graph.plain_modules import notes_of
from autoquant.graph.prepare import prepare

Build = Callable[[], tuple[nn.Module, str]]
LAYERS: dict[str, Build] = {
    "Linear": lambda: (nn.Linear(6, 6), "weight"),
    "bias": lambda: (nn.Linear(6, 6), "bias"),
    "Conv1d": lambda: (nn.Conv1d(5, 6, 3), "weight"),
    "LSTM": lambda: (nn.LSTM(6, 4), "weight_hh_l0"),
    "BatchNorm1d": lambda: (nn.BatchNorm1d(5), "weight"),
}


def pruned(module: nn.Module, name: str = "weight") -> nn.Module:
    """Half of the values, and a quarter of the rest: two masks one after the other."""
    prune.l1_unstructured(module, name, 0.5)
    return prune.random_unstructured(module, name, 0.25)


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_mask_becomes_zeros_of_a_plain_parameter(layer: str) -> None:
    torch.manual_seed(0)
    module, name = LAYERS[layer]()
    model, inputs = nn.Sequential(pruned(module, name)), torch.randn(3, 5, 6)
    expected = first(model.eval()(inputs))
    ready = prepare(model).eval()
    torch.testing.assert_close(first(ready(inputs)), expected, atol=1e-6, rtol=0)
    plain = prepare(nn.Sequential(LAYERS[layer]()[0]))
    assert ready.state_dict().keys() == plain.state_dict().keys()
    assert all(p.is_leaf and p.requires_grad for p in ready.parameters())
    assert torch.equal(first(model(inputs)), expected)  # the user's model is as it was


def test_a_pruned_weight_that_was_frozen_stays_so() -> None:
    model = prepare(pruned(nn.Linear(6, 6)).requires_grad_(False))
    assert not model.get_parameter("weight").requires_grad


def test_an_unpruned_layer_that_shares_the_weight_keeps_it() -> None:
    table, head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
    head.weight = table.weight
    model = nn.Sequential(pruned(table), head)
    ready = prepare(model)
    assert torch.equal(ready.get_parameter("1.weight"), head.weight)
    assert torch.equal(ready.get_parameter("0.weight"), table.weight)


@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf")], ids="norm {}".format)
@pytest.mark.parametrize("table", [nn.Embedding, nn.EmbeddingBag])
def test_max_norm_shortens_the_rows_once(table: type[nn.Embedding], norm: float) -> None:
    torch.manual_seed(0)
    words = torch.arange(9).view(3, 3)
    model = nn.Sequential(table(9, 6, max_norm=0.7, norm_type=norm))
    before = model.get_parameter("0.weight").detach().norm(norm, 1)
    ready = prepare(model)
    assert torch.equal(ready(words), model(words))
    layer = ready.get_submodule("0")
    assert layer.max_norm is None
    after = ready.get_parameter("0.weight").norm(norm, 1)
    torch.testing.assert_close(after, before.clamp(max=0.7))


def test_on_the_meta_device() -> None:
    model = nn.Sequential(nn.Embedding(9, 6, max_norm=1.0), pruned(nn.Linear(6, 6))).to("meta")
    ready = prepare(model)
    assert [name for name, p in ready.named_parameters() if p.is_meta] == [
        "0.weight",
        "1.bias",
        "1.weight",
    ]


def test_a_quantized_table_has_dense_gradients() -> None:
    model = nn.Sequential(nn.Embedding(9, 6, sparse=True))
    prepare(model)(torch.arange(3)).sum().backward()
    assert not prepare(model).get_submodule("0").sparse
    assert model.get_submodule("0").sparse


def test_notes_name_what_is_baked_in() -> None:
    model = nn.Sequential(nn.Embedding(9, 6, max_norm=1.0), pruned(nn.Linear(6, 6)))
    assert [line.split(":")[0] for line in notes_of(model)] == [
        "pruning is baked in",
        "max_norm of 0 is applied to the trained table, once",
    ]
    assert "the zeros of 1.weight " in notes_of(model)[0]
    assert notes_of(prepare(model)) == ()


def test_masks_of_unknown_modules_stay() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(6))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.gain * inputs

    model, inputs = nn.Sequential(nn.Linear(6, 6), pruned(Scale(), "gain")), torch.randn(2, 6)
    ready = prepare(model)
    assert torch.equal(ready(inputs), model(inputs))
    names = [tensor.name for tensor in describe(ready, (inputs,)).unquantized]
    assert names == ["1.gain_orig", "1.gain_mask"]
