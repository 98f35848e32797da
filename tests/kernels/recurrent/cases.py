"""Recurrences to compare kernels on: leaves that want gradients, and results with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from autoquant.kernels import Cell, Recurrence, State, Weights
from autoquant.kernels.recurrent import autograd, torch_loop
from autoquant.kernels.recurrent.registry import EngineFactory
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme

CELLS = {
    "lstm": Cell("lstm"),
    "sigmoid-lstm": Cell("lstm", "sigmoid"),
    "gru": Cell("gru"),
    "rnn_tanh": Cell("rnn_tanh"),
    "rnn_relu": Cell("rnn_relu"),
}
RULES = {  # of the hidden state: is the grid signed, and what the scheme says
    "float": None,
    "signed": (True, Scheme()),
    "unsigned": (False, Scheme()),
    "unclipped": (True, Scheme(activation_clip=False)),
    "unmasked": (True, Scheme(clip_gradient="pass")),
}
Result = tuple[Tensor, State]


@dataclass(frozen=True)
class Case:
    """One recurrence; all its tensors are leaves that want a gradient."""

    cell: Cell
    sizes: tuple[int, ...]
    inputs: Tensor
    weights: Weights
    state: State
    quantize: ActivationQuantizer | None

    def recurrence(self, **changes) -> Recurrence:
        """What is run, perhaps with other fields."""
        own = self.cell, self.inputs, self.sizes, self.weights, self.state, self.quantize
        return replace(Recurrence(*own), **changes)

    @property
    def leaves(self) -> list[Tensor]:
        tensors = [self.inputs, *self.weights, *self.state]
        tensors += [] if self.quantize is None else [self.quantize.log_scale]
        return [each for each in tensors if each is not None]


def quantizer(rule: str, bits: int = 3, step: float = 0.2) -> ActivationQuantizer | None:
    if RULES[rule] is None:
        return None
    signed, scheme = RULES[rule]
    made = ActivationQuantizer(bits, scheme)
    made.restore(float(torch.tensor(step).log()), -(1 << bits - 1) if signed else 0)
    return made


def case(
    name: str = "lstm",
    sizes: Sequence[int] = (3, 3, 3, 3),
    rule: str = "float",
    *,
    bias: bool = True,
    features: int = 4,
    units: int = 5,
    projection: int | None = None,
    bits: int = 3,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    cell, out = CELLS[name], projection or units
    rows = cell.gates * units
    weights = Weights(
        leaf(rows, features),
        leaf(rows, out),
        leaf(rows) if bias else None,
        leaf(units) if bias and name == "gru" else None,
        leaf(projection, units) if projection else None,
    )
    state = (leaf(sizes[0], out), *([leaf(sizes[0], units)] if "lstm" in name else []))
    inputs = leaf(sum(sizes), features)
    quantize = quantizer(rule, bits)
    quantize = quantize if quantize is None else quantize.to(dtype)
    return Case(cell, tuple(sizes), inputs, weights, state, quantize)


@st.composite
def cases(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Case:
    """Cells, rules, packed sizes and widths at random."""
    sizes = sorted(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)), reverse=True)
    if draw(st.booleans()):
        sizes = [sizes[0]] * len(sizes)
    return case(
        draw(st.sampled_from(list(CELLS))),
        sizes,
        draw(st.sampled_from(list(RULES))),
        bias=draw(st.booleans()),
        features=draw(st.integers(1, 4)),
        units=draw(st.integers(1, 6)),
        bits=draw(st.integers(1, 4)),
        dtype=dtype,
        seed=draw(st.integers(0, 999)),
    )


def looping(recurrence: Recurrence) -> Result:
    """The torch loop, whatever the selection would say."""
    return engined(torch_loop.torch_loop_engine, recurrence)


def engined(factory: EngineFactory, recurrence: Recurrence) -> Result:
    result = autograd.recur(recurrence, [factory])
    assert result is not None
    return result


def all_of(run: Callable[..., Result], given: Case, *, through: str = "all") -> list[Tensor]:
    """Outputs, last state and the gradients of all leaves.

    Args:
        through: what the loss is made of: "outputs", "last" or "all".
    """
    outputs, last = run(given.recurrence())
    generator = torch.Generator().manual_seed(7)
    parts = {"outputs": [outputs], "last": [*last], "all": [outputs, *last]}[through]
    loss = sum(
        (part * torch.randn(part.shape, generator=generator).to(part)).sum() for part in parts
    )
    gradients = torch.autograd.grad(loss, given.leaves, allow_unused=True)
    return [outputs, *last, *(each for each in gradients if each is not None)]


def assert_same(ours: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    """Within a tolerance of the largest value of each tensor."""
    assert len(ours) == len(expected)
    for mine, theirs in zip(ours, expected, strict=True):
        largest = float(theirs.detach().abs().amax()) if theirs.numel() else 0.0
        torch.testing.assert_close(
            mine, theirs, rtol=tolerance, atol=tolerance * max(largest, 1e-3)
        )


def alone(given: Case, sequence: int) -> tuple[Case, list[int]]:
    """One sequence of a packed batch by itself, and the rows that are its own."""
    starts = [sum(given.sizes[:t]) for t in range(len(given.sizes))]
    rows = [start + sequence for start, n in zip(starts, given.sizes, strict=True) if sequence < n]
    own = replace(
        given,
        sizes=(1,) * len(rows),
        inputs=given.inputs[rows],
        state=tuple(part[sequence : sequence + 1] for part in given.state),
    )
    return own, rows
