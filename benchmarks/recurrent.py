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
from benchmarks.case import Case, Variant
from benchmarks.checks import Results, close_to, parameter_gradients
from benchmarks.kernels import NATIVE, NATIVE_BF16, REFERENCE, TORCH, Kernel, under
from benchmarks.peers import brevitas, cell_loop, torch_ao
from benchmarks.quantized import QuantizedModule, first_output

GROUP = "recurrent"
ABOUT = "training step of the recurrent layers alone, over float nn.LSTM and nn.GRU"

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
CALIBRATION_STEPS = 35

# Largest relative errors. A value between two codes may be rounded either way, so nothing is exact.
SAME, SAME_BF16 = 0.03, 0.06
SAME_LAYER = 0.9  # other quantizers, the same layer; two unrelated results differ by 1.4


def stack_label(cell: str, layers: int, units: int) -> str:
    """The name of a stack: "LSTM 2 x 650".

    Args:
        cell: "LSTM" or "GRU".
        layers: of the stack.
        units: of every layer.
    """
    return f"{cell} {layers} x {units}" if layers > 1 else f"{cell} {units}"


@dataclass(frozen=True)
class StackShape:
    """A stack of recurrent layers, and the size of its inputs.

    Attributes:
        cell: "LSTM" or "GRU".
        units: inputs and hidden units of every layer.
        layers: of the stack.
        steps: time steps of a sequence.
        batch: sequences.
    """

    cell: str = "LSTM"
    units: int = 300
    layers: int = 1
    steps: int = 35
    batch: int = 20

    @property
    def label(self) -> str:
        return stack_label(self.cell, self.layers, self.units)

    @property
    def title(self) -> str:
        steps = f"{self.steps} steps" if self.steps > 1 else "1 step"
        return (
            f"{self.label}, 4-bit weights, inputs and hidden state; training step (forward and "
            f"backward, no optimizer); batch {self.batch}, {steps}"
        )


class LayerStep:
    """A training step without an optimizer: gradients of inputs and parameters.

    Args:
        module: a recurrent stack.
        inputs: [T, B, I]; they require a gradient.
        gradient: of the outputs, [T, B, H].
    """

    def __init__(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> None:
        self.module, self.gradient = module.train(), gradient
        self.inputs: Any = inputs

    def __call__(self) -> Results:
        self.inputs.grad = None
        self.module.zero_grad(set_to_none=True)
        output = first_output(self.module(self.inputs))
        output.backward(self.gradient)
        return {"output": output, "input gradient": self.inputs.grad}


class RecurrentSubject:
    """A float stack, the same stack quantized, its inputs and the gradient of its outputs.

    Args:
        shape: of the stack and its inputs.
        choice: bits of every layer.
        scheme: how numbers become codes.
    """

    def __init__(
        self,
        shape: StackShape,
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
        inputs = self.inputs.detach()[:CALIBRATION_STEPS]
        return QuantizedModule(self.float_module, self.choice, self.scheme, inputs).module

    @cached_property
    def expected(self) -> Results:
        """What the reference kernels compute."""
        return {**under(REFERENCE, self.step(self.quantized))(), **self.gradients()}

    def gradients(self) -> Results:
        """The gradients of the quantized stack's parameters."""
        return {"parameter gradients": parameter_gradients(self.quantized)}

    def step(self, module: nn.Module) -> LayerStep:
        return LayerStep(module, self.inputs, self.gradient)

    def float_variant(self) -> Variant:
        return Variant(f"float nn.{self.shape.cell}", lambda: self.step(self.float_module))

    def autoquant_variant(self, kernel: Kernel) -> Variant:
        """autoquant on some kernels, checked against its reference kernels."""
        tolerance = SAME_BF16 if kernel.precision == "bfloat16" else SAME
        check = close_to(lambda: self.expected, tolerance)
        return Variant(
            f"autoquant {kernel}",
            lambda: under(kernel, self.step(self.quantized)),
            lambda results: check({**results, **self.gradients()}),
        )

    def peer_variant(self, name: str, build: Callable[[], nn.Module], tolerance: float) -> Variant:
        """Another library's layer, checked for what it has in common with autoquant's.

        Args:
            name: as it is printed.
            build: builds the layer.
            tolerance: largest relative error.
        """
        check = close_to(lambda: self.expected, tolerance)
        return Variant(name, lambda: self.step(build()), check)


def cases() -> Iterator[Case]:
    shapes = [
        StackShape("LSTM", 300),
        StackShape("LSTM", 1000),
        StackShape("LSTM", 650, layers=2),
        StackShape("GRU", 300),
        StackShape("GRU", 1000),
    ]
    for shape in shapes:
        notes = () if shape.cell == "LSTM" else ("Brevitas and torch.ao have no GRU",)
        variants = tuple(_variants(RecurrentSubject(shape)))
        yield Case(GROUP, shape.title, shape.label, variants, notes=notes)


def _variants(subject: RecurrentSubject) -> Iterator[Variant]:
    yield subject.float_variant()
    for kernel in (REFERENCE, TORCH, NATIVE, NATIVE_BF16):
        yield subject.autoquant_variant(kernel)
    if subject.shape.cell == "LSTM":
        yield from _libraries(subject)
    name, build = "loop, cell + fake_quantize", lambda: cell_loop.stack_of(subject.quantized)
    yield subject.peer_variant(name, build, SAME)


def _libraries(subject: RecurrentSubject) -> Iterator[Variant]:
    for name, equivalent in (("default", False), ("equivalent quantizers only", True)):
        build = partial(_peer, brevitas.lstm, subject, equivalent=equivalent)
        yield subject.peer_variant(f"Brevitas, {name}", build, SAME_LAYER)
    for name, observing in (("observing", True), ("ranges frozen", False)):
        build = partial(_peer, torch_ao.quantizable_lstm, subject, observing=observing)
        yield subject.peer_variant(f"torch.ao quantizable, {name}", build, SAME_LAYER)


def _peer(build: Callable[..., nn.Module], subject: RecurrentSubject, **options: bool) -> nn.Module:
    """Another library's layer with the weights of the subject's float layer.

    Args:
        build: of the other library.
        subject: of the case.
        **options: of ``build``.
    """
    return build(subject.float_module, subject.inputs.detach(), **options)
