"""Group ``recurrent``: a training step of the recurrent layers alone, over torch's float ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Call, Case, Variant
from benchmarks.checks import Results, close_to
from benchmarks.kernels import NATIVE, NATIVE_BF16, REFERENCE, TORCH, Kernel, under
from benchmarks.peers import brevitas, loop, torch_ao
from benchmarks.quantized import Quantized, first

GROUP = "recurrent"
ABOUT = "training step of the recurrent layers alone, over float nn.LSTM and nn.GRU"

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
CALIBRATION_STEPS = 35

# Largest relative errors. A tie that rounds the other way moves a code, so nothing is exact.
SAME, SAME_BF16 = 0.03, 0.06
ALIKE = 0.9  # other quantizers: still the same layer; noise would be 1.4


@dataclass(frozen=True)
class Shape:
    """A stack, and what runs through it."""

    cell: str = "LSTM"
    units: int = 300
    layers: int = 1
    steps: int = 35
    batch: int = 20

    @property
    def label(self) -> str:
        many = f"{self.layers} x " if self.layers > 1 else ""
        return f"{self.cell} {many}{self.units}"

    @property
    def title(self) -> str:
        steps = f"{self.steps} steps" if self.steps > 1 else "1 step"
        return (
            f"{self.label}, 4-bit weights, inputs and hidden state; training step (forward and "
            f"backward, no optimizer); batch {self.batch}, {steps}"
        )


class Step:
    """Forward and backward: the gradients of inputs and parameters, from nothing."""

    def __init__(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> None:
        self.module, self.gradient = module.train(), gradient
        self.inputs: Any = inputs

    def __call__(self) -> Results:
        self.inputs.grad = None
        self.module.zero_grad(set_to_none=True)
        output = first(self.module(self.inputs))
        output.backward(self.gradient)
        return {"output": output, "input gradient": self.inputs.grad}


class Subject:
    """A float stack, its quantized twin, inputs and the gradient that comes from above."""

    def __init__(
        self,
        shape: Shape,
        choice: LayerChoice = LayerChoice(4, 4),  # noqa: B008
        scheme: Scheme = Scheme(),  # noqa: B008
    ) -> None:
        self.shape, self.choice, self.scheme = shape, choice, scheme

    @cached_property
    def float_module(self) -> nn.Module:
        torch.manual_seed(0)
        return CELLS[self.shape.cell](self.shape.units, self.shape.units, self.shape.layers)

    @cached_property
    def inputs(self) -> Tensor:
        shape = (self.shape.steps, self.shape.batch, self.shape.units)
        torch.manual_seed(1)
        return (0.5 * torch.randn(shape)).requires_grad_()

    @cached_property
    def gradient(self) -> Tensor:
        torch.manual_seed(2)
        return torch.randn(self.shape.steps, self.shape.batch, self.shape.units)

    @cached_property
    def quantized(self) -> nn.Module:
        few = self.inputs.detach()[:CALIBRATION_STEPS]
        return Quantized(self.float_module, self.choice, self.scheme, few).module

    @cached_property
    def truth(self) -> Results:
        """What the reference kernel gives."""
        return {**under(REFERENCE, self.step(self.quantized))(), **self.gradients()}

    def gradients(self) -> Results:
        """All gradients of the quantized stack's parameters, end to end."""
        found = [p.grad.flatten() for p in self.quantized.parameters() if p.grad is not None]
        return {"parameter gradients": torch.cat(found)}

    def step(self, module: nn.Module) -> Step:
        return Step(module, self.inputs, self.gradient)

    def floats(self) -> Variant:
        return Variant(f"float nn.{self.shape.cell}", lambda: self.step(self.float_module))

    def ours(self, kernel: Kernel) -> Variant:
        """autoquant on some kernel, checked against its reference."""
        tolerance = SAME_BF16 if kernel.precision == "bfloat16" else SAME
        check = close_to(lambda: self.truth, tolerance)
        return Variant(
            f"autoquant {kernel}",
            lambda: under(kernel, self.step(self.quantized)),
            lambda results: check({**results, **self.gradients()}),
        )

    def peer(self, name: str, make: Callable[[], nn.Module], tolerance: float) -> Variant:
        """Another library's layer, checked for what it has in common with ours."""

        def made() -> Call:
            return self.step(make())

        return Variant(name, made, close_to(lambda: self.truth, tolerance))


def cases() -> Iterator[Case]:
    shapes = [
        Shape("LSTM", 300),
        Shape("LSTM", 1000),
        Shape("LSTM", 650, layers=2),
        Shape("GRU", 300),
        Shape("GRU", 1000),
    ]
    for shape in shapes:
        notes = () if shape.cell == "LSTM" else ("Brevitas and torch.ao have no GRU",)
        yield Case(GROUP, shape.title, shape.label, tuple(variants(Subject(shape))), notes=notes)


def variants(subject: Subject) -> Iterator[Variant]:
    yield subject.floats()
    for kernel in (REFERENCE, TORCH, NATIVE, NATIVE_BF16):
        yield subject.ours(kernel)
    if subject.shape.cell == "LSTM":
        yield from _libraries(subject)
    yield subject.peer("loop, cell + fake_quantize", lambda: loop.loops(subject.quantized), SAME)


def _libraries(subject: Subject) -> Iterator[Variant]:
    for name, equivalent in (("default", False), ("equivalent quantizers only", True)):
        make = partial(_peer, brevitas.lstm, subject, equivalent=equivalent)
        yield subject.peer(f"Brevitas, {name}", make, ALIKE)
    for name, observing in (("observing", True), ("ranges frozen", False)):
        make = partial(_peer, torch_ao.quantizable_lstm, subject, observing=observing)
        yield subject.peer(f"torch.ao quantizable, {name}", make, ALIKE)


def _peer(make: Callable[..., nn.Module], subject: Subject, **options: bool) -> nn.Module:
    return make(subject.float_module, subject.inputs.detach(), **options)
