"""Packed forms: a form that is added from outside, from a packed file to a layer that runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.layers import layer_kind
from autoquant.layers import registry as layer_registry
from autoquant.layers.linear import IntegerLinear, Linear
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.plan import LayerChoice
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime import (
    PackedEmbedding,
    PackedLinear,
    PackedRecurrentLayer,
    PackedWeight,
    packed_form,
    packed_form_of,
    registry,
)
from tests.runtime.pairs import assert_same, noise, pair

W4A8 = LayerChoice(4, 8)
INPUTS = noise(6, 3, 5)


class Gated(nn.Linear):
    """A linear layer whose outputs pass through a sigmoid."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sigmoid(F.linear(inputs, self.weight, self.bias))


class PackedGated(nn.Module):
    """The same from packed codes; the weight is decoded at each call."""

    def __init__(
        self, weight: PackedWeight, bias: Tensor, quantizer: ActivationQuantizer | None
    ) -> None:
        super().__init__()
        self.packed = weight
        self.bias = nn.Parameter(bias)
        self.input_quantizer = quantizer

    def forward(self, inputs: Tensor) -> Tensor:
        quantized = inputs if self.input_quantizer is None else self.input_quantizer(inputs)
        return torch.sigmoid(F.linear(quantized, self.packed.values(), self.bias))


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_FORMS", dict(registry._FORMS))
    monkeypatch.setattr(layer_registry, "_KINDS", dict(layer_registry._KINDS))


@pytest.fixture
def gated() -> None:
    @layer_kind(Gated)
    class GatedKind(Linear):
        name = "gated"

    @packed_form(Gated)
    def pack_gated(
        module: Gated,
        parameters: Mapping[str, PackedWeight | Tensor],
        quantizers: Mapping[str, ActivationQuantizer],
    ) -> PackedGated | None:
        weight, bias = parameters["weight"], parameters["bias"]
        if not isinstance(weight, PackedWeight):
            return None
        assert isinstance(bias, Tensor)
        return PackedGated(weight, bias, quantizers.get("input_quantizer"))


def build() -> nn.Module:
    return nn.Sequential(Gated(5, 6), nn.Linear(6, 3))


@pytest.mark.usefixtures("gated")
@pytest.mark.parametrize("bits", [1, 1.6, 4, 8], ids="w{}".format)
@pytest.mark.parametrize("activation_bits", [8, 16, 32], ids="a{}".format)
def test_a_layer_of_an_added_form_runs_from_packed_codes(
    bits: float, activation_bits: int, tmp_path: Path
) -> None:
    both = pair(tmp_path, build, LayerChoice(bits, activation_bits), INPUTS)
    assert isinstance(both.loaded[0], PackedGated)
    assert isinstance(both.loaded[1], PackedLinear)
    assert not both.loaded[0].bias.requires_grad
    assert_same(both, INPUTS)
    assert_same(both.afresh(), noise(7, 2, 5, seed=3))


@pytest.mark.usefixtures("gated")
@pytest.mark.parametrize("bits", [16, 32], ids="w{}".format)
def test_a_form_may_leave_the_module(bits: int, tmp_path: Path) -> None:
    """Its parameters are decoded, its input is quantized as before."""
    both = pair(tmp_path, build, LayerChoice(bits, 8), INPUTS)
    assert type(both.loaded[0]) is Gated
    assert torch.equal(both.loaded[0].weight, both.fake[0].weight)
    assert_same(both, INPUTS)


def test_a_form_replaces_an_earlier_one(tmp_path: Path) -> None:
    packed_form(IntegerLinear)(lambda module, parameters, quantizers: None)
    assert type(pair(tmp_path, lambda: nn.Linear(5, 6), W4A8, INPUTS).loaded) is IntegerLinear


# --- the forms that come with autoquant ----------------------------------------------------------


def test_the_forms_are_known_without_a_list() -> None:
    """Importing the folder is enough: each form is registered where its layer is defined."""
    makes = {
        module_type: form.__annotations__["return"] for module_type, form in registry._FORMS.items()
    }
    linear, embedding = f"{PackedLinear.__name__} | None", f"{PackedEmbedding.__name__} | None"
    assert makes == {
        nn.Linear: linear,
        IntegerLinear: linear,
        nn.Embedding: embedding,
        RecurrentLayer: PackedRecurrentLayer.__name__,
    }


def test_a_module_with_hooks_has_no_form() -> None:
    """A packed layer would not run them."""
    module = nn.Linear(3, 4)
    assert packed_form_of(module) is not None
    handle = module.register_forward_hook(lambda module, args, output: output)
    assert packed_form_of(module) is None
    handle.remove()
    module.register_forward_pre_hook(lambda module, args: args)
    assert packed_form_of(module) is None


def test_a_subclass_with_a_forward_needs_its_own_form() -> None:
    assert packed_form_of(Gated(3, 4)) is None
