"""QuantizerProbe: the quantizers of one dimension in a model, for each of its choices.

A probe puts another choice into the model, in place, and in gradient passes it weighs the rounding
errors of all choices by the gradients at the quantized values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.quantization.codes import attach_quant_params, quant_params_of
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.space.search_space import Dimension
from autoquant.training.activations import HIDDEN_QUANTIZER

MAX_KEPT = 1 << 18
"""Squared errors of a weight that are kept from pass to pass; of larger weights none are."""


@dataclass(frozen=True)
class Slot:
    """A place of a model that holds one quantizer.

    Attributes:
        owner: holds the quantizer.
        key: its name among the owner's modules.
        quantizers: what may be put there, by choice; the choice of the reference among them.
    """

    owner: nn.Module
    key: str
    quantizers: dict[float, nn.Module]

    def put(self, choice: float) -> None:
        """Put the quantizer of a choice into the model.

        Args:
            choice: of the dimension.
        """
        self._with_shared(choice)
        self.owner._modules[self.key] = self.quantizers[choice]

    def error(self, choice: float, values: Tensor) -> Tensor:
        """The rounding error of a choice.

        Args:
            choice: of the dimension.
            values: a parameter or an activation.
        """
        quantizer = self._with_shared(choice)
        exact = quantizer.effective(values) if isinstance(quantizer, WeightQuantizer) else values
        return quantizer(values) - exact  # type: ignore[no-any-return]

    def _with_shared(self, choice: float) -> nn.Module:
        """The quantizer of a choice, with what others set on the one that is in the model."""
        new, old = self.quantizers[choice], self.owner._modules[self.key]
        if isinstance(new, WeightQuantizer) and isinstance(old, WeightQuantizer):
            new.magnitude, new.zero_rows = old.magnitude, old.zero_rows
        return new


@dataclass(frozen=True)
class _Call:
    """One call of a quantizer in a gradient pass.

    Attributes:
        slot: of the quantizer.
        values: before it.
        output: after it; has the gradient.
    """

    slot: Slot
    values: Tensor
    output: Tensor


@dataclass(frozen=True)
class QuantizerProbe:
    """The quantizers of one dimension, and what gradient passes have shown of them.

    With the gradient g of a batch's mean loss at the quantized values and the rounding errors e of
    a choice, half the sum of (g * e)**2 is the diagonal Fisher estimate of the loss increase,
    divided by the number of samples of a batch, for weights and activations alike.

    Attributes:
        dimension: of bits.
        reference: the choice that the model has.
        slots: one for each weight of the dimension, or one for its input or its hidden state.
        batches: for each gradient pass that reached the quantizers the estimate of each choice.
    """

    dimension: Dimension
    reference: float
    slots: tuple[Slot, ...]
    batches: list[Tensor] = field(default_factory=list)
    _calls: list[_Call] = field(default_factory=list)
    _means: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _squares: dict[int, Tensor] = field(default_factory=dict)

    @property
    def choices(self) -> tuple[float, ...]:
        """Those of the dimension, and the reference's, in rising order."""
        return tuple(sorted({*self.dimension.choices, self.reference}))

    @property
    def is_hidden(self) -> bool:
        """Whether the quantizer runs inside a loop over time."""
        return any(slot.key == HIDDEN_QUANTIZER for slot in self.slots)

    def put(self, choice: float) -> None:
        """Give the model a choice of the dimension.

        Args:
            choice: one of ``choices``.
        """
        for slot in self.slots:
            slot.put(choice)

    # --- gradients -------------------------------------------------------------------------------

    def watch(self) -> list[Callable[[], None]]:
        """Keep what the quantizers get and return in forward passes with gradients.

        Returns:
            functions that end it.
        """
        ends = []
        for slot in self.slots:
            hook = partial(self._kept, slot)
            handle = slot.quantizers[self.reference].register_forward_hook(hook)
            ends.append(handle.remove)
        return ends

    def _kept(self, slot: Slot, _: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Keep the values before and after a quantizer; the latter get a gradient.

        Args:
            slot: of the quantizer.
            _: the quantizer.
            args: that it was called with, the values before it first.
            output: after it.

        Returns:
            what the model goes on with.
        """
        values = args[0]
        if not torch.is_grad_enabled() or not output.is_floating_point() or not output.numel():
            return output
        if not output.requires_grad:  # of a frozen parameter, or of the data
            params = quant_params_of(output)
            output = output.detach().requires_grad_()
            output = output if params is None else attach_quant_params(output, params)
        elif output is values:
            output = output.view_as(output)  # its gradient is not that of other readers
        output.retain_grad()
        self._calls.append(_Call(slot, values.detach(), output))
        return output

    @torch.no_grad()
    def end_pass(self) -> None:
        """Reduce what a forward and backward pass has left to one number a choice."""
        estimates = []
        for slot, values, gradient in self._gradients():
            if self.dimension.is_weight_bits:
                total = self._means.get(id(slot), (values, torch.zeros_like(gradient)))[1]
                self._means[id(slot)] = values, total + gradient
            estimates.append(self._estimates(slot, values, gradient))
        self._calls.clear()
        if estimates:
            self.batches.append(torch.stack(estimates).sum(0))

    def _gradients(self) -> list[tuple[Slot, Tensor, Tensor]]:
        """(slot, values, gradient) of each call; of a weight, of all of its calls together."""
        calls = [call for call in self._calls if call.output.grad is not None]
        gradients = [(call.slot, call.values, call.output.grad) for call in calls]
        if not self.dimension.is_weight_bits:
            return gradients  # type: ignore[return-value]
        by_slot: dict[int, tuple[Slot, Tensor, Tensor]] = {}
        for slot, values, gradient in gradients:
            assert gradient is not None
            before = by_slot.get(id(slot))
            total = gradient if before is None else before[2] + gradient
            by_slot[id(slot)] = slot, values, total
        return list(by_slot.values())

    def _estimates(self, slot: Slot, values: Tensor, gradient: Tensor) -> Tensor:
        """Half the sum of (gradient * error)**2 for each choice, [choices].

        Args:
            slot: of the quantizer.
            values: before it.
            gradient: after it.
        """
        if not self.dimension.is_weight_bits or values.numel() * len(self.choices) > MAX_KEPT:
            errors = (slot.error(choice, values) for choice in self.choices)
            return torch.stack([(gradient * error).square().sum() / 2 for error in errors]).float()
        if id(slot) not in self._squares:
            rows = [slot.error(choice, values).flatten().float() for choice in self.choices]
            self._squares[id(slot)] = torch.stack(rows).square()
        return self._squares[id(slot)] @ gradient.flatten().float().square() / 2

    @torch.no_grad()
    def of_mean_gradient(self) -> Tensor | None:
        """The estimates with the mean gradient of all passes, which is no noise of a sample.

        In a quantized network it is not zero. For weights it is left out of the estimates;
        activations differ from batch to batch.

        Returns:
            [choices], or None for activations.
        """
        count = len(self.batches)
        estimates = [
            self._estimates(slot, self._means[id(slot)][0], self._means[id(slot)][1] / count)
            for slot in self.slots
            if id(slot) in self._means
        ]
        return torch.stack(estimates).sum(0) if estimates else None
