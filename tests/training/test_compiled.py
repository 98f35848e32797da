"""A fake-quantized model under torch.compile: the same outputs and gradients as without."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from autoquant.kernels import cross_entropy
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.toys import RegressionTask, plan_of, prepared


class Reader(nn.Module):
    """A stack, and a linear layer."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.rnn, self.out = getattr(nn, cell)(5, 11), nn.Linear(11, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.rnn(inputs)[0])


MODELS = {
    "lstm": lambda: Reader("LSTM"),
    "gru": lambda: Reader("GRU"),
    "linear": lambda: nn.Sequential(nn.Linear(5, 11), nn.ReLU(), nn.Linear(11, 4)),
}


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def quantized(name: str) -> nn.Module:
    torch.manual_seed(0)
    model, network = prepared(MODELS[name](), noise(6, 3, 5))
    task = RegressionTask(model, noise(6, 3, 5))
    plan = plan_of(network, LayerChoice(4, 4))
    return build_candidate(model, network, plan, Scheme(), task, method="split", seed=0).train()


def step(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The loss, and its gradients."""
    loss = cross_entropy(model(inputs).flatten(0, 1), targets)
    model.zero_grad()
    loss.backward()
    return [loss.detach(), *(each.grad for each in model.parameters() if each.grad is not None)]


QUICK = {("lstm", "model", "eager"), ("linear", "step", "eager")}
EVERY = [
    pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow, id=" ".join(each))
    for each in product(MODELS, ("model", "step"), ("eager", "inductor"))
]


@pytest.mark.parametrize(("name", "what", "backend"), EVERY)
def test_compiled_training_is_the_same(name: str, what: str, backend: str) -> None:
    torch._dynamo.reset()
    model, inputs, targets = quantized(name), noise(4, 2, 5), torch.arange(8) % 4
    expected = step(model, inputs, targets)
    if what == "model":
        compiled = torch.compile(model, backend=backend)
        results = [step(compiled, inputs, targets) for _ in range(2)]
    else:
        compiled = torch.compile(step, backend=backend)
        results = [compiled(model, inputs, targets) for _ in range(2)]
    for result in results:
        assert len(result) == len(expected) > 3
        # inductor has an exp of its own, which scales are computed with
        tolerance = 1e-6 if backend == "inductor" else 0
        torch.testing.assert_close(result, expected, rtol=tolerance, atol=0)
