"""A recurrent stack whose layers are packed: a forward pass is one call of a kernel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from autoquant.kernels.recurrent.cell import State
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.runtime.integer_linear import plain
from autoquant.runtime.prepared import Prepared
from autoquant.runtime.recurrent import PackedRecurrentLayer
from autoquant.runtime.stack_call import Flow


class PackedRecurrent(Prepared, Recurrent):
    """A Recurrent with a short way for what is common; all else goes layer by layer.

    Short is the way of float32 inputs [T, B, I] on the CPU, and of states of the widest layer's
    width, through layers that can all run on integers.
    """

    _ready: tuple[list[Flow | None], Flow] | None

    @classmethod
    def adopt(cls, stack: Recurrent) -> None:
        """Make a Recurrent one of these, in place."""
        stack.__class__ = cls

    def forward(self, inputs: Any, hx: Any = None) -> tuple[Any, Any]:
        """See Recurrent."""
        short = isinstance(inputs, Tensor) and inputs.ndim == 3 and inputs.numel()
        result = self._at_once(inputs, hx) if short else None
        return super().forward(inputs, hx) if result is None else result

    def _at_once(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any] | None:
        flow = self._flow()
        if flow is None:
            return None
        rows = inputs.transpose(0, 1) if self.batch_first else inputs
        steps, batch, features = rows.shape
        given = self._given(hx, (len(flow.directions), batch, flow.width), inputs)
        if features != flow.features or given is None or not plain(inputs, *given):
            return None
        start = tuple(part.contiguous() for part in given) if given else None
        result = flow(rows.contiguous(), steps, batch, start, (steps, batch))
        if result is None:
            return None
        outputs = result[0].transpose(0, 1) if self.batch_first else result[0]
        return outputs, self._state(result[1])

    def _given(self, hx: Any, shape: tuple[int, ...], like: Tensor) -> State | None:
        """The parts of a state: none where zeros do, and None where they are not of the shape."""
        if hx is None and any(layer.initial for layer in self.layers):
            layout = self._layout()
            return layout.joined(layout.start(shape[1], like))
        if hx is None:
            return ()
        parts = hx if self._lstm else (hx,)
        if not isinstance(parts, tuple | list) or len(parts) != 1 + self._lstm:
            return None
        suit = all(isinstance(part, Tensor) and part.shape == shape for part in parts)
        return tuple(parts) if suit else None

    def _flow(self) -> Flow | None:
        """Through all layers, as they are now; None where one of them must be called."""
        if self.dropout and self.training:
            return None
        flows = [_flow_of(layer) for layer in self.layers]
        if len(flows) == 1 or None in flows:
            return None if None in flows else flows[0]
        ready = self._ready
        if ready is None or ready[0] != flows:
            directions = [each for flow in flows if flow for each in flow.directions]
            self._ready = ready = flows, Flow(directions, len(directions) // len(flows))
        return ready[1]


def _flow_of(layer: RecurrentLayer) -> Flow | None:
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return layer.flow() if isinstance(layer, PackedRecurrentLayer) and not hooked else None
