"""A recurrent stack whose layers are packed: a forward pass is one call of a kernel."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from autoquant.kernels.recurrent.cell import State
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import (
    Recurrent,
    RecurrentGRU,
    RecurrentLSTM,
    RecurrentRNN,
    reordered,
)
from autoquant.quantization.native import is_traced
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.layer_operands import LayerOperands
from autoquant.runtime.linear_call import kernels_suit
from autoquant.runtime.recurrence_operator import packed_recurrence
from autoquant.runtime.recurrent import PackedRecurrentLayer
from autoquant.runtime.stack_call import StackCall
from autoquant.runtime.traced_sizes import with_fixed_sizes


class PackedRecurrent(CachingModule, Recurrent):
    """A Recurrent with a fast path; all other inputs go layer by layer.

    The fast path takes float32 inputs [T, B, I] on the CPU and states of the widest layer's width,
    if all layers can run on integers.
    """

    _cached: tuple[list[StackCall], StackCall] | None

    @staticmethod
    def adopt(stack: Recurrent) -> None:
        """Make a Recurrent one of these, in place, unless it is one.

        Args:
            stack: whose layers are packed, or will be.
        """
        stack.__class__ = PACKED_STACKS.get(type(stack), type(stack))

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """See ``Recurrent.forward``."""
        data = input.data if isinstance(input, PackedSequence) else input
        if isinstance(data, Tensor) and is_traced(data):
            result = self._forward_traced(input, hx)
            if result is None and torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
                input = with_fixed_sizes(input)
        else:
            fast = isinstance(input, Tensor) and input.ndim == 3 and input.numel()
            result = self._forward_fast(input, hx) if fast else None
        return super().forward(input, hx) if result is None else result

    def _forward_traced(self, inputs: Tensor | PackedSequence, hx: Any) -> tuple[Any, Any] | None:
        """See ``Recurrent.forward``: by an operator; None where it cannot compute this."""
        layers = self._operands()
        if layers is None:
            return None
        if isinstance(inputs, PackedSequence):
            return self._trace_sequences(inputs, hx, layers)
        if inputs.ndim == 3:
            return self._trace_padded(inputs, hx, layers)
        return self._trace_unbatched(inputs, hx, layers) if inputs.ndim == 2 else None

    def _trace_padded(
        self, inputs: Tensor, hx: Any, layers: list[LayerOperands]
    ) -> tuple[Tensor, Any] | None:
        """See ``_forward_traced``, for inputs with a batch axis.

        Args:
            inputs: [T, B, I], or [B, T, I].
            hx: the initial state, or None.
            layers: what the operator gets of each layer.
        """
        rows = inputs.transpose(0, 1) if self.batch_first else inputs
        parts = self._initial_state(hx, rows.shape[1], inputs)
        if inputs.shape[2] != self.layers[0].input_size or not kernels_suit(inputs, *parts):
            return None
        outputs, last = packed_recurrence(rows, None, parts, layers)
        return outputs.transpose(0, 1) if self.batch_first else outputs, self._state(last)

    def _trace_unbatched(
        self, inputs: Tensor, hx: Any, layers: list[LayerOperands]
    ) -> tuple[Tensor, Any] | None:
        """See ``_forward_traced``, for inputs without a batch axis.

        Args:
            inputs: [T, I].
            hx: the initial state, or None.
            layers: what the operator gets of each layer.
        """
        axis = 0 if self.batch_first else 1
        if hx is not None:
            parts = self._layout().checked_parts(hx)
            hx = self._state(tuple(part.unsqueeze(1) for part in parts))
        result = self._trace_padded(inputs.unsqueeze(axis), hx, layers)
        if result is None:
            return None
        outputs, last = result
        parts = tuple(part.squeeze(1) for part in (last if self._lstm else (last,)))
        return outputs.squeeze(axis), self._state(parts)

    def _trace_sequences(
        self, inputs: PackedSequence, hx: Any, layers: list[LayerOperands]
    ) -> tuple[PackedSequence, Any] | None:
        """See ``_forward_traced``, for sequences of several lengths.

        Args:
            inputs: the sequences.
            hx: the initial state, or None.
            layers: what the operator gets of each layer.
        """
        rows, sizes, order, order_before = inputs
        batch = int(sizes[0]) if order is None else order.shape[0]
        parts = self._initial_state(hx, batch, rows)
        if not parts:
            layout = self._layout()
            parts = layout.join(layout.initial_states(batch, rows))
        if rows.shape[-1] != self.layers[0].input_size or not kernels_suit(rows, *parts):
            return None
        parts = parts if hx is None else reordered(parts, order)
        outputs, last = packed_recurrence(rows, sizes, parts, layers)
        packed = PackedSequence(outputs, sizes, order, order_before)
        return packed, self._state(reordered(last, order_before))

    def _initial_state(self, hx: Any, batch: int, inputs: Tensor) -> State:
        """The parts of the initial state at the width of the widest layer; nothing for zeros.

        Args:
            hx: the state that user code gave, or None.
            batch: number of sequences.
            inputs: whose dtype and device a new state has.
        """
        layout = self._layout()
        if hx is not None:
            return layout.join(layout.split(layout.checked_parts(hx, batch)))
        if any(layer.initial for layer in self.layers):
            return layout.join(layout.initial_states(batch, inputs))
        return ()

    def _operands(self) -> list[LayerOperands] | None:
        """What the operator gets of all layers; None where one must be called itself."""
        if self.training and (self.dropout or any(layer.given for layer in self.layers)):
            return None
        layers = [layer.operands() if _is_packed(layer) else None for layer in self.layers]
        return None if None in layers else layers  # type: ignore[return-value]

    def _forward_fast(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any] | None:
        """See ``Recurrent.forward``; None where the fast path cannot be taken."""
        call = self._stack_call()
        if call is None:
            return None
        rows = inputs.transpose(0, 1) if self.batch_first else inputs
        steps, batch, features = rows.shape
        parts = self._initial_parts(hx, (len(call.directions), batch, call.width), inputs)
        if features != call.features or parts is None or not kernels_suit(inputs, *parts):
            return None
        initial = tuple(part.contiguous() for part in parts) if parts else None
        result = call(rows.contiguous(), steps, batch, initial)
        if result is None:
            return None
        outputs = result[0].transpose(0, 1) if self.batch_first else result[0]
        return outputs, self._state(result[1])

    def _initial_parts(self, hx: Any, shape: tuple[int, ...], inputs: Tensor) -> State | None:
        """The parts of the initial state.

        Args:
            hx: the state that user code gave, or None.
            shape: [L*D, B, W] that each part must have.
            inputs: whose dtype and device a new state has.

        Returns:
            no parts for a state of zeros, and None where the parts are not of the shape.
        """
        if hx is None and any(layer.initial for layer in self.layers):
            layout = self._layout()
            return layout.join(layout.initial_states(shape[1], inputs))
        if hx is None:
            return ()
        parts = hx if self._lstm else (hx,)
        if not isinstance(parts, (tuple, list)) or len(parts) != 1 + self._lstm:
            return None
        for part in parts:
            if not isinstance(part, Tensor) or part.shape != shape:
                return None
        return tuple(parts)

    def _stack_call(self) -> StackCall | None:
        """A call through all layers as they are now; None where a layer must be called itself."""
        if self.dropout and self.training:
            return None
        calls = []
        for layer in self.layers:
            call = layer.stack_call() if _is_packed(layer) else None
            if call is None:
                return None
            calls.append(call)
        if len(calls) == 1:
            return calls[0]
        cached = self._cached
        if cached is None or cached[0] != calls:
            directions = [direction for call in calls for direction in call.directions]
            stack_call = StackCall(directions, len(directions) // len(calls))
            self._cached = cached = calls, stack_call
        return cached[1]


class PackedLSTM(PackedRecurrent, nn.LSTM):  # type: ignore[misc]
    """A PackedRecurrent that user code knows as nn.LSTM."""


class PackedGRU(PackedRecurrent, nn.GRU):  # type: ignore[misc]
    """A PackedRecurrent that user code knows as nn.GRU."""


class PackedRNN(PackedRecurrent, nn.RNN):  # type: ignore[misc]
    """A PackedRecurrent that user code knows as nn.RNN."""


PACKED_STACKS: dict[type[Recurrent], type[PackedRecurrent]] = {
    Recurrent: PackedRecurrent,
    RecurrentLSTM: PackedLSTM,
    RecurrentGRU: PackedGRU,
    RecurrentRNN: PackedRNN,
}
"""The packed class of each class of stack."""


def _is_packed(layer: RecurrentLayer) -> TypeGuard[PackedRecurrentLayer]:
    """Whether the kernels may take a layer's place: it has no hooks that must run."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    return isinstance(layer, PackedRecurrentLayer)
