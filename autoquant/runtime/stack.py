"""A recurrent stack whose layers are packed: a forward pass is one call of a kernel."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autoquant.kernels.recurrent.cell import State
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent, RecurrentGRU, RecurrentLSTM, RecurrentRNN
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.linear_call import kernels_suit
from autoquant.runtime.recurrent import PackedRecurrentLayer
from autoquant.runtime.stack_call import StackCall


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

    def forward(self, inputs: Any, hx: Any = None) -> tuple[Any, Any]:
        """See ``Recurrent.forward``."""
        fast = isinstance(inputs, Tensor) and inputs.ndim == 3 and inputs.numel()
        result = self._forward_fast(inputs, hx) if fast else None
        return super().forward(inputs, hx) if result is None else result

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
        result = call(rows.contiguous(), steps, batch, initial, (steps, batch))
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
        if not isinstance(parts, tuple | list) or len(parts) != 1 + self._lstm:
            return None
        suit = all(isinstance(part, Tensor) and part.shape == shape for part in parts)
        return tuple(parts) if suit else None

    def _stack_call(self) -> StackCall | None:
        """A call through all layers as they are now; None where a layer must be called itself."""
        if self.dropout and self.training:
            return None
        calls = [*filter(None, (_call_of(layer) for layer in self.layers))]
        if len(calls) < len(self.layers):
            return None
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


def _call_of(layer: RecurrentLayer) -> StackCall | None:
    """A layer as the kernels take it; None where it cannot be, or has hooks that must run."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    return layer.stack_call() if isinstance(layer, PackedRecurrentLayer) else None
