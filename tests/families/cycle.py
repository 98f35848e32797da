"""What holds for every model: it grows without changing, packs to its predicted size, reloads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.analysis.profile import Profile, profile_model
from autoquant.artifact import manifest, packed_file
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.tracing.record import tensors_in
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Training, Widening
from autoquant.task import Direction, Example, Split
from autoquant.training.loop import train
from autoquant.training.qat import calibrate, quantize

TOLERANCE = 1e-5  # of the largest output: sums of float32 in another order
WEIGHT_BITS = (1, 1.6, 2, 3, 4, 5, 8, 16, 32)
ACTIVATION_BITS = (2, 4, 8, 16, 32)


class Fixed:
    """A task on one batch of inputs, with random targets."""

    name = "fixed"
    metric = "mse"
    direction: Direction = "minimize"

    def __init__(self, build: Callable[[], nn.Module], inputs: tuple[Any, ...]) -> None:
        self.build_model = build
        self.inputs = inputs

    def steps_per_epoch(self) -> int:
        return 1

    def batches(self, seed: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        while True:
            yield self.inputs

    def loss(self, model: nn.Module, batch: tuple[Any, ...], carry: Any) -> tuple[Tensor, Any]:
        output = tensors_in(model(*batch))[0]
        generator = torch.Generator().manual_seed(0)
        return F.mse_loss(output, torch.randn(output.shape, generator=generator)), None

    def score(self, model: nn.Module, split: Split) -> float:
        return float(self.loss(model, self.inputs, None)[0])

    def example(self) -> Example:
        return Example(self.inputs, 1)


@torch.no_grad()
def without_constants(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random numbers in place of zeros, ones and tiny gains; in place."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, tensor in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name == "running_var" or bool((tensor == 1).all()):
                tensor.copy_(1 + 0.2 * noise.clamp(-2, 2))
            elif name == "running_mean" or (
                isinstance(tensor, nn.Parameter) and float(tensor.abs().max()) < 1e-3
            ):
                tensor.copy_(0.2 * noise)
    return model


@dataclass
class Cycle:
    """All stages of one model: prepared, described, grown, quantized, trained, packed, loaded.

    Attributes:
        build: makes the model.
        inputs: positional arguments of one forward pass.
        scheme: of the quantization.
    """

    build: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    scheme: Scheme = field(default_factory=Scheme)

    def __post_init__(self) -> None:
        self.source = without_constants(self.build()).eval()
        self.model = prepare(self.source).eval()
        self.network: Network = describe(self.model, self.inputs)

    @property
    def free(self) -> list[str]:
        """Groups that can grow."""
        return [
            g for g in dict.fromkeys(self.network.groups.values()) if g not in self.network.frozen
        ]

    def profile(self) -> Profile:
        return profile_model(self.model, self.network, Example(self.inputs, 1), Widening())

    def mixed(self, widths: dict[str, float], seed: int = 0) -> Plan:
        """Random bits for every layer; shared weights have one number of bits."""
        source = random.Random(seed)
        choices = {}
        for name in self.network.names:
            owner = self.network.shares.get(name)
            bits = source.choice(WEIGHT_BITS) if owner is None else choices[owner].weight_bits
            width = widths.get(self.network.groups[name], 1.0)
            choices[name] = LayerChoice(bits, source.choice(ACTIVATION_BITS), width)
        return Plan(choices)

    def check_prepared(self) -> None:
        assert_alike(self.model, self.source, self.inputs)

    def widened(self, plan: Plan, method: str) -> tuple[nn.Module, Network]:
        """The model at the widths of a plan, which must compute the same."""
        grown, promised = widen(
            self.model, self.network, WideningRequest(plan, self.scheme, method, 0)
        )
        assert_alike(grown, self.model, self.inputs)
        return grown, promised

    def check_packed(self, plan: Plan, folder: Path, method: str = "split") -> None:
        """After a training step: the file has the predicted size, and loads bit for bit."""
        model, grown = self.widened(plan, method)
        task = Fixed(self.build, self.inputs)
        quantize(model, grown, plan, self.scheme)
        calibrate(model, task, 0)
        train(model.train(), task, Training(steps=1, lr=1e-3), seed=0)
        path = folder / "packed"
        packed_file.save(path, model.eval(), self.network, plan, self.scheme)
        assert path.stat().st_size == manifest.size_bytes(self.network, plan, self.scheme)
        loaded = packed_file.load(path, self.build())
        for here, there in zip(
            outputs(model, self.inputs), outputs(loaded, self.inputs), strict=True
        ):
            assert torch.equal(here, there)


@torch.no_grad()
def outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """All outputs in eval mode."""
    return tensors_in(model.eval()(*inputs))


def assert_alike(one: nn.Module, other: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Outputs are the same up to rounding; states may have another width."""
    for here, there in zip(outputs(one, inputs), outputs(other, inputs), strict=True):
        if here.shape == there.shape and here.is_floating_point():
            largest = float(there.abs().max())
            torch.testing.assert_close(here, there, atol=TOLERANCE * largest, rtol=0)
    assert outputs(one, inputs)[0].shape == outputs(other, inputs)[0].shape
