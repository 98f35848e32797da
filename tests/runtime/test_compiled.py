"""Loaded models that torch.compile makes one graph of: the same bits, for any sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme
from tests.exports.models import packed, words
from tests.runtime.pairs import assert_equal, noise

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(
        torch.__version__.startswith("2.6."),
        reason="torch 2.6 takes the numbers of a module for dynamic ones with dynamic=True",
    ),
]

MODELS: dict[str, tuple[str, dict[str, Any], Tensor, Tensor]] = {
    "language": ("language", {"activations": 16}, words(7, 3), words(4, 2)),
    "language of floats": (
        "language gru",
        {"weights": 32, "activations": 32, "hidden": 32},
        words(7, 3),
        words(4, 2),
    ),
    "spotter": ("spotter", {}, noise(3, 9, 13), noise(2, 5, 13)),
    "convolutions": ("convolutions", {}, noise(2, 1, 12, 12), noise(5, 1, 12, 12)),
    "encoder": ("encoder", {}, words(2, 6), words(3, 4)),
}
"""Names of exports.models, bits, and two inputs."""


@pytest.fixture(autouse=True)
def nothing_compiled():
    """torch.compile refuses an nn.LSTM inside of one graph unless it is told to."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield


def check(name: str, backend: str, folder: Path) -> None:
    """One graph, compiled once, gives what the model gives on both inputs."""
    model, bits, *batches = MODELS[name]
    loaded = packed(folder, model, **bits).pair.loaded
    compiled = torch.compile(loaded, backend=backend, fullgraph=True, dynamic=True)
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch in batches:
            assert_equal(compiled(batch), loaded(batch))


@pytest.mark.parametrize("name", MODELS)
def test_one_graph(name: str, tmp_path: Path) -> None:
    check(name, "eager", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", MODELS)
def test_one_graph_of_other_backends(name: str, backend: str, tmp_path: Path) -> None:
    check(name, backend, tmp_path)


@pytest.mark.parametrize(("bits", "clip"), [(4, True), (4, False), (16, True)])
def test_a_quantizer_of_another_layout(bits: int, clip: bool) -> None:
    """As a convolution's input may be; the values of 16 bits exceed half precision."""
    quantizer = ActivationQuantizer(bits, Scheme(activation_clip=clip)).requires_grad_(False)
    if bits <= 8:
        quantizer.restore(-1.0, -8)
    values = 1e5 * noise(2, 3, 4, 5).to(memory_format=torch.channels_last)
    compiled = torch.compile(quantizer, backend="aot_eager", fullgraph=True)
    for each in (values, values[:, :, 1:], values.expand(2, 2, 3, 4, 5), values[:0]):
        ours, theirs = compiled(each), quantizer(each)
        assert_equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_training_is_compiled_in_parts() -> None:
    """The gradients of a quantizer are what they are without a compiler."""
    gradients = []
    for way in (lambda module: module, lambda module: torch.compile(module, backend="eager")):
        quantizer = ActivationQuantizer(4, Scheme())
        quantizer.restore(-1.0, -8)
        values = noise(3, 5).requires_grad_()
        way(nn.Sequential(quantizer, nn.Tanh()))(values).sum().backward()
        gradients.append([values.grad, quantizer.log_scale.grad])
    assert_equal(*gradients)
