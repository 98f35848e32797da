"""Quantized recurrences at random, run by any kernel, and compared code by code.

Where a hidden state lies on the border between two codes, the last bit of a sum decides, and all
that follows is different. So the reference is made to follow: `Followed` gives it the code that the
kernel chose, and remembers how near the border it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from torch import Tensor

from autoquant.coding import Rule
from autoquant.compute import Compute, computing
from autoquant.kernels import Cell, State, Weights, recur
from autoquant.quantizer import ActivationQuantizer, WeightQuantizer, encode
from autoquant.settings import Scheme

CELLS = {
    "lstm": Cell("lstm"),
    "sigmoid-lstm": Cell("lstm", "sigmoid"),
    "gru": Cell("gru"),
    "rnn_tanh": Cell("rnn_tanh"),
    "rnn_relu": Cell("rnn_relu"),
}
NATIVE, REFERENCE = Compute(kernel="native"), Compute(kernel="reference")
NEAR = 1e-3  # of a step: so wide is the border between two codes
EDGE = 2e-4  # of a step: so wide is that between values whose gradient is stopped or not


@dataclass(frozen=True)
class Plan:
    """A recurrence in words; the numbers follow from the seed."""

    cell: str = "lstm"
    sizes: tuple[int, ...] = (3, 3, 3, 3)
    units: int = 9
    features: int = 5
    weight_bits: int = 4
    hidden_bits: int = 4
    input_bits: int = 8
    signed: bool = True
    bias: bool = True
    scheme: Scheme = field(default_factory=Scheme)
    range: float = 0.8  # the largest level of the hidden state
    seed: int = 0


def plans(**fixed: object) -> st.SearchStrategy[Plan]:
    """Any plan, but for what is fixed."""
    schemes = st.builds(
        Scheme,
        granularity=st.sampled_from(["channel", "tensor"]),
        grid=st.sampled_from(["auto", "midrise", "midtread"]),
        reparametrization=st.sampled_from(["none", "tanh"]),
        clip_gradient=st.sampled_from(["mask", "pass"]),
        scale_bits=st.sampled_from([16, 32]),
    )
    drawn: dict[str, st.SearchStrategy] = {
        "cell": st.sampled_from([*CELLS]),
        "sizes": _sizes(),
        "units": st.integers(1, 70),
        "features": st.integers(1, 40),
        "weight_bits": st.integers(1, 8),
        "hidden_bits": st.integers(2, 8),
        "input_bits": st.integers(2, 8),
        "signed": st.booleans(),
        "bias": st.booleans(),
        "scheme": schemes,
        "range": st.sampled_from([0.3, 0.8, 1.2]),
        "seed": st.integers(0, 999),
    }
    return st.builds(Plan, **(drawn | {name: st.just(value) for name, value in fixed.items()}))


@st.composite
def _sizes(draw: st.DrawFn) -> tuple[int, ...]:
    """Active sequences of 1 to 12 steps: as many in each, or fewer and fewer."""
    steps, batch = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    if draw(st.booleans()):
        return (batch,) * steps
    rest = draw(st.lists(st.integers(1, batch), min_size=steps - 1, max_size=steps - 1))
    return batch, *sorted(rest, reverse=True)


@dataclass(frozen=True)
class Recurrence:
    """The tensors of a plan; all leaves want a gradient."""

    plan: Plan
    leaves: dict[str, Tensor]
    weights: dict[str, WeightQuantizer]
    inputs: ActivationQuantizer
    hidden: ActivationQuantizer

    @property
    def state(self) -> State:
        return tuple(self.leaves[name] for name in ("h", "c") if name in self.leaves)

    def sources(self) -> dict[str, Tensor]:
        """All that gets a gradient."""
        quantizers = {**self.weights, "inputs": self.inputs, "hidden": self.hidden}
        scales = {
            f"{name}.scale": each.log_scale
            for name, each in quantizers.items()
            if getattr(each, "log_scale", None) is not None and each.log_scale.requires_grad
        }
        return self.leaves | scales

    def run(
        self, compute: Compute, quantize: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, State]:
        """Outputs and last state, by a kernel."""
        with computing(compute):
            weights = Weights(
                *(self.weights[name](self.leaves[name]) for name in ("input", "recurrent")),
                self.leaves.get("bias"),
                self.leaves.get("candidate_bias"),
            )
            inputs = self.inputs(self.leaves["inputs"])
            cell = CELLS[self.plan.cell]
            chosen = quantize or self.hidden
            return recur(cell, inputs, self.plan.sizes, weights, self.state, chosen)

    def gradients(self, outputs: Tensor, last: State, compute: Compute) -> dict[str, Tensor]:
        """Of a random mixture of all outputs."""
        generator = torch.Generator().manual_seed(7)
        parts = (outputs, *last)
        loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in parts)
        sources = self.sources()
        with computing(compute):
            grads = torch.autograd.grad(loss, [*sources.values()])
        return dict(zip(sources, grads, strict=True))


def made(plan: Plan) -> Recurrence:
    """The numbers of a plan."""
    generator = torch.Generator().manual_seed(plan.seed)

    def leaf(*shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=generator) * spread).requires_grad_()

    cell, units = CELLS[plan.cell], plan.units
    rows, batch = cell.gates * units, plan.sizes[0]
    leaves = {
        "inputs": leaf(sum(plan.sizes), plan.features),
        "input": leaf(rows, plan.features, spread=plan.features**-0.5),
        "recurrent": leaf(rows, units, spread=units**-0.5),
        "h": leaf(batch, units, spread=0.5),
    }
    if plan.bias:
        leaves["bias"] = leaf(rows)
    if plan.bias and cell.kind == "gru":
        leaves["candidate_bias"] = leaf(units)
    if cell.kind == "lstm":
        leaves["c"] = leaf(batch, units)
    weights = {
        name: WeightQuantizer(leaves[name].detach(), plan.weight_bits, plan.scheme)
        for name in ("input", "recurrent")
    }
    inputs = _activations(plan.input_bits, plan.scheme, signed=True, largest=2.5)
    hidden = _activations(plan.hidden_bits, plan.scheme, signed=plan.signed, largest=plan.range)
    return Recurrence(plan, leaves, weights, inputs, hidden)


def _activations(
    bits: int, scheme: Scheme, *, signed: bool, largest: float
) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(bits, scheme)
    if not quantizer.unit:
        quantizer.restore(0.0, -(1 << bits - 1) if signed else 0)
        quantizer.restore(math.log(largest / quantizer.grid.reach), quantizer.grid.low)
    return quantizer


class Followed:
    """The quantizer of the hidden state, made to choose the codes that a kernel chose.

    Attributes:
        borders: of values that had another code, how far they were from the border, in steps.
        doubtful: whether a value is so near the edge of the grid that the last bits decide whether
            its gradient is stopped.
        mass: sum of the magnitudes of what the gradient of log_scale is summed from.
    """

    def __init__(self, quantizer: ActivationQuantizer, outputs: Tensor, sizes: Sequence[int]):
        levels = (outputs.detach() / quantizer.scale().detach()).round()
        self._chosen = iter([None, *torch.split(levels, list(sizes))])  # first, the initial state
        self._quantizer = quantizer
        self.borders: list[float] = []
        self.doubtful = False
        self.mass = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        rule = self._quantizer.rule()
        assert rule is not None
        steps = values.detach() / rule.scale.detach()
        own = encode(values.detach(), rule.scale.detach(), rule.grid, clip=rule.clip)
        chosen = next(self._chosen)
        codes = own if chosen is None else chosen
        differs = own != codes
        self.borders += ((steps % 1)[differs] - 0.5).abs().tolist()
        error = codes - steps
        if rule.clip and rule.masked:
            outward = (steps > rule.grid.high) | (steps < rule.grid.low)
            self.doubtful |= bool((outward & ((error.abs() - 0.5001).abs() < EDGE)).any())
        result = _forced(values, codes, differs, rule) if differs.any() else self._quantizer(values)
        root = math.sqrt(max(1, values.numel()) * rule.grid.reach)
        slope = (torch.where(error.abs() <= 0.5001, error, codes) * rule.scale).detach() / root
        result.register_hook(lambda grad: self._add(grad * slope))
        return result

    def _add(self, parts: Tensor) -> None:
        self.mass += float(parts.abs().sum())


def _forced(values: Tensor, codes: Tensor, differs: Tensor, rule: Rule) -> Tensor:
    """Fake quantization to these codes, from differentiable parts; see quantizer._FakeQuantize."""
    factor = 1 / math.sqrt(values.numel() * rule.grid.reach)
    scale = rule.scale * factor + (rule.scale * (1 - factor)).detach()
    steps = values / scale
    passing = steps + (codes - steps).detach()
    if rule.clip and rule.masked:
        inside = differs | ((codes - steps).detach().abs() <= 0.5001)
        passing = torch.where(inside, passing, codes)
    return passing * scale
