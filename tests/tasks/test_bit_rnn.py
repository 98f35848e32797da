"""Bit-RNN's models (He et al. 2016), written out step by step, against what autoquant builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.tasks.language_model import LanguageModel
from autoquant.training.qat import quantize

WORDS, E, H, T, B = 13, 5, 7, 6, 3
BIT_RNN = {"candidate": "sigmoid", "rectified": True, "initial": 0.5, "initializer": "fan_in"}
BITS = {"32-32": (32, 32), "4-4": (4, 4), "2-2": (2, 2), "2-3": (2, 3), "32-5": (32, 5)}
WidthPropagation = Callable[["Literal", Tensor, list[Tensor]], list[Tensor]]


class Literal:
    """The model as it is written down; ``round`` and clipping have the gradient 1.

    Args:
        w, f: bits of weights and activations.
        tanh: whether a weight is the tanh of what is trained.
    """

    def __init__(self, model: nn.Module, w: int, f: int, *, tanh: bool) -> None:
        self.model, self.w, self.f, self.tanh = model, w, f, tanh

    def leaf(self, layer: str, name: str) -> Tensor:
        """What is trained."""
        module = self.model.get_submodule(layer)
        if parametrize.is_parametrized(module, name):
            return module.parametrizations[name].original
        return getattr(module, name)

    def a(self, x: Tensor) -> Tensor:
        """A(x)."""
        levels = 2**self.f - 1
        return x if self.f == 32 else x + ((levels * x).round() / levels - x).detach()

    def q(self, *V: Tensor) -> Tensor:
        """Q(W) of one matrix, which may be stored in parts."""
        W = torch.cat(V, 1)
        W = W.tanh() if self.tanh else W
        if self.w == 32:
            return W
        s, levels = 2.5 * W.abs().mean().detach(), 2**self.w - 1
        q = s * ((levels * ((W / s).clip(-0.5, 0.5) + 0.5)).round() / levels - 0.5)
        return W + (q - W).detach()

    def kernel(self, prefix: str) -> Tensor:
        """[x; h] -> gates."""
        names = f"{prefix}_ih", f"{prefix}_hh"
        return self.q(*(self.leaf("rnn.l0", name) for name in names)).T

    def run(
        self, tokens: Tensor, walk: WidthPropagation, state: list[Tensor] | None = None
    ) -> list[Tensor]:
        """Logits and the last state."""
        embedded = self.leaf("embedding", "weight")[tokens]
        xs = self.a(embedded.relu())
        half = self.a(torch.full((tokens.shape[1], H), 0.5, dtype=torch.float64))
        state, outputs = state or [half, half], []
        for x in xs:
            state = walk(self, x, state)
            outputs.append(state[0])
        softmax_w = self.q(self.leaf("decoder", "weight")).T
        return [torch.stack(outputs) @ softmax_w + self.leaf("decoder", "bias"), *state]


def lstm(of: Literal, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    h, c = state
    gates = torch.cat([x, h], 1) @ of.kernel("weight") + of.leaf("rnn.l0", "bias")
    i, f, j, o = gates.split(H, 1)
    c = c * (f + 1).sigmoid() + i.sigmoid() * j.sigmoid()
    return [of.a(c.sigmoid() * o.sigmoid()), c]


def gru(of: Literal, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    h = state[0]
    gates = torch.cat([x, h], 1) @ of.kernel("weight") + of.leaf("rnn.l0", "bias")
    r, u = gates.sigmoid().split(H, 1)
    inner = torch.cat([x, of.a(r * h)], 1) @ of.kernel("candidate")
    candidate = of.a((inner + of.leaf("rnn.l0", "candidate_bias")).sigmoid())
    return [of.a(u * h + (1 - u) * candidate)]


WALKS: dict[str, WidthPropagation] = {"lstm": lstm, "gru": gru}
CELLS = pytest.mark.parametrize("cell", WALKS)


def tokens(seed: int = 0) -> Tensor:
    return torch.randint(WORDS, (T, B), generator=torch.Generator().manual_seed(seed))


def built(cell: str, **changes: object) -> nn.Module:
    """With biases that count."""
    torch.manual_seed(0)
    model = LanguageModel(WORDS, E, H, 1, 0.0, cell, **(BIT_RNN | changes)).double()
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    return prepare(model)


def quantized(cell: str, w: int, f: int) -> nn.Module:
    model = built(cell)
    network = describe(model, (tokens(),))
    plan = Plan.uniform(network.names, LayerChoice(w, f)).with_choice("embedding", weight_bits=32)
    quantize(model, network, plan, Scheme.bit_rnn())
    return model.double()


def assert_same(model: nn.Module, literal: Literal, walk: WidthPropagation) -> None:
    """Outputs of two windows, the state carried, and the gradients of everything trained."""
    first, second = tokens(), tokens(1)
    logits, state = model(first)
    later, end = model(second, state)
    expected, *carried = literal.run(first, walk)
    expected_later, *expected_end = literal.run(second, walk, carried)
    end = end if isinstance(end, tuple) else (end,)
    ours = [logits, later, *(part[0] for part in end)]
    theirs = [expected, expected_later, *expected_end]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    leaves = [each for each in model.parameters() if each.requires_grad]
    assert len(leaves) == (9 if walk is gru else 6)
    noise = torch.Generator().manual_seed(2)
    weights = [torch.randn(each.shape, generator=noise, dtype=each.dtype) for each in ours]
    grads = [
        torch.autograd.grad(sum((o * w).sum() for o, w in zip(out, weights, strict=True)), leaves)
        for out in (ours, theirs)
    ]
    assert all(bool(grad.any()) for grad in grads[0])
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


@CELLS
def test_in_float(cell: str) -> None:
    model = built(cell)
    assert_same(model, Literal(model, 32, 32, tanh=False), WALKS[cell])


@pytest.mark.parametrize("bits", BITS.values(), ids=BITS)
@CELLS
def test_quantized(cell: str, bits: tuple[int, int]) -> None:
    model = quantized(cell, *bits)
    assert_same(model, Literal(model, *bits, tanh=True), WALKS[cell])


@pytest.mark.parametrize("f", range(2, 9), ids="{} bits".format)
@CELLS
def test_a_text_starts_halfway_and_rounded_up(cell: str, f: int) -> None:
    layer = quantized(cell, 4, f).get_submodule("rnn.l0").float()
    h, *c = layer.initial_state(B, torch.zeros(1))
    expected = torch.full((B, H), 2 ** (f - 1) / (2**f - 1))
    for part in (layer.hidden_quantizer(h), *c):
        torch.testing.assert_close(part, expected, rtol=1e-6, atol=0)


def test_each_matrix_of_the_gru_has_a_step_size_of_its_own() -> None:
    layer = quantized("gru", 4, 4).get_submodule("rnn.l0")
    with torch.no_grad():
        for name in ("candidate_ih", "candidate_hh"):
            layer.parametrizations[name].original.mul_(0.25)
    layer(torch.rand(B, E, dtype=torch.float64), [B], [(torch.zeros(B, H).double(),)])
    held = layer.parametrizations
    gates, candidate = (
        {float(held[f"{kind}_{source}"][0].magnitude) for source in ("ih", "hh")}
        for kind in ("weight", "candidate")
    )
    assert len(gates) == len(candidate) == 1
    assert min(gates) > 2 * max(candidate)


def test_an_embedding_that_is_not_quantized_is_not_squashed() -> None:
    """The model is in float64: its table is rounded to float32, as it will be stored."""
    model = quantized("lstm", 4, 4)
    table: Any = model.get_submodule("embedding")
    assert torch.equal(table.weight, table.parametrizations.weight.original.float().double())
    assert parametrize.is_parametrized(model.get_submodule("decoder"), "weight")
