"""Training on the compiled kernels: nothing grows, and it ends where other kernels end."""

from __future__ import annotations

import copy
import gc
import math
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor, nn

from autoquant.backend import Compute, computing
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Training
from autoquant.tasks.language import LanguageTask
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate
from autoquant.training.scoring import score
from tests.quantization.native.machine import NEEDS_KERNELS, bfloat16_everywhere
from tests.toys import language_task, prepared

pytestmark = NEEDS_KERNELS

STATM = Path("/proc/self/statm")


def candidate(
    task: LanguageTask, bits: int = 4, seed: int = 0, source: nn.Module | None = None
) -> nn.Module:
    """A calibrated model, of a float one that may have learned something."""
    torch.manual_seed(seed)
    model, network = prepared(source or task.build_model())
    plan = Plan.uniform(network.names, LayerChoice(bits, 8, hidden_bits=4))
    return build_candidate(model, network, plan, Scheme(), task, method="split", seed=seed)


# --- memory --------------------------------------------------------------------------------------


def steps(
    model: nn.Module, task: LanguageTask, optimizer: torch.optim.Optimizer, count: int
) -> None:
    carry = None
    for batch, _ in zip(task.batches(0), range(count), strict=False):
        loss, carry = task.loss(model, batch, carry)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


def test_no_tensor_stays_behind():
    task = language_task(words=5, hidden=4, embedding=4, batch_size=2, length=3)
    model = candidate(task).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    steps(model, task, optimizer, 10)
    before = live_tensors()
    steps(model, task, optimizer, 300)
    assert live_tensors() == before


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="only Linux tells how much memory is used")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_memory_does_not_grow(cell):
    """Measured over 10,000 steps: within 1 MiB; what one step leaves behind would be 100."""
    task = language_task(cell=cell, hidden=24)
    model = candidate(task).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def resident() -> float:
        gc.collect()
        return int(STATM.read_text().split()[1]) * 4096 / 2**20

    steps(model, task, optimizer, 1000)
    before = resident()
    steps(model, task, optimizer, 10_000)
    grown = resident() - before
    print(f"{cell}: {grown:.2f} MiB in 10,000 steps")
    assert grown < 8


# --- curves --------------------------------------------------------------------------------------

SEEDS = (0, 1, 2)
VARIANTS = {
    "native": Compute("native"),
    "native, bfloat16": Compute("native", "bfloat16"),
    "torch": Compute("torch"),
    "reference": Compute("reference"),
}


def learned(task: LanguageTask, seed: int) -> nn.Module:
    """A float model after a short training."""
    torch.manual_seed(seed)
    model = task.build_model()
    train(model, task, Training(steps=200, lr=1e-2), seed=seed)
    return model


def final_loss(task: LanguageTask, source: nn.Module, compute: Compute, seed: int) -> float:
    """Loss of the validation text after 500 steps of quantized training, in nats a word."""
    model = candidate(task, 2, seed, copy.deepcopy(source))
    settings = Training(steps=500, lr=3e-3, precision=compute.precision)
    with computing(compute):
        train(model, task, settings, seed=seed)
        return math.log(score(model, task, "valid"))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_kernel_ends_at_the_same_loss(cell):
    task = language_task(words=30, tokens=12_000, cell=cell, hidden=32, embedding=16)
    sources = [learned(task, seed) for seed in SEEDS]
    with bfloat16_everywhere():
        losses = {
            name: [final_loss(task, sources[seed], compute, seed) for seed in SEEDS]
            for name, compute in VARIANTS.items()
        }
    for name, each in losses.items():
        listed = ", ".join(f"{loss:.4f}" for loss in each)
        print(f"{cell}, {name}: {mean(each):.4f} nats ({listed})")
    expected = losses["reference"]
    assert mean(expected) < 0.7 * math.log(30)  # something was learned
    for name, each in losses.items():
        error = math.sqrt((stdev(each) ** 2 + stdev(expected) ** 2) / len(SEEDS))
        difference = abs(mean(each) - mean(expected))
        assert difference <= max(2 * error, 0.01 * mean(expected)), name
