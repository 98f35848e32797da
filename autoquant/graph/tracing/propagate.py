"""Propagating units through a recorded forward pass, from layers that make them to their readers.

Where units meet, they are bound; where an operation reads several together, they are bound to grow
as a whole or, if nothing is left that could grow, frozen, with the reason as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from autoquant.graph.tracing.layer_units import LayerUnits
from autoquant.graph.tracing.new_units import UNKNOWN, equal, together
from autoquant.graph.tracing.operations import operation_of
from autoquant.graph.tracing.propagation_state import PropagationState, shown
from autoquant.graph.tracing.record import Call, Record, Ref
from autoquant.graph.tracing.units import Ids
from autoquant.graph.tracing.values import Value
from autoquant.layers import LayerSpec

WRITTEN = "is written by {} into a part of a tensor whose other units are not known"


class WidthPropagation:
    """One pass over the recorded calls, in order.

    Args:
        model: that was recorded.
        layers: its layers and norms.
        record: one forward pass.
        tables: names of tensors outside the layers that have units along their last axis, and why
            what they are combined with cannot grow otherwise.

    Attributes:
        state: the values of all tensors, and their units.
        layers: the units along the axes of each layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[LayerSpec],
        record: Record,
        tables: Mapping[str, str],
    ) -> None:
        self.state = PropagationState()
        self.layers = LayerUnits(self.state, model, layers)
        self._record = record
        for ref, name in record.tensors.items():
            if name in tables and ref.shape[-1] > 1:
                self.layers.add_table(name, ref, tables[name])

    def run(self) -> None:
        """Propagate units through all calls that the output or a branch depends on."""
        for ref in self._record.inputs:
            self.state.values[ref] = Value(data=ref.dtype.is_floating_point)
        for call in self._record.live():
            if call.mark == "output":
                self._leave(call)
            elif call.mark == "read":
                self._branch(call)
            elif call.mark == "dropout":
                value = self.state.read(call.args[0])
                self._set(call, replace(value, dropout=call.args[1], uniform=False))
            elif call.layer:
                self._set(call, self.layers.call(call))
            else:
                self._operate(call)
        self.layers.freeze_uncalled(self._record)
        self.layers.freeze_unfit()
        self.layers.freeze_shared_weights()

    def _set(self, call: Call, result: Value | list[Value]) -> None:
        """Keep the values of a call's results."""
        values = result if isinstance(result, list) else [result]
        for ref, value in zip(call.results, values, strict=False):
            self.state.values[ref] = value

    # --- operations ------------------------------------------------------------------------------

    def _operate(self, call: Call) -> None:
        """Propagate units through an operation."""
        result = self._values_after(call)
        values = result if isinstance(result, list) else [result] * len(call.results)
        values = [_with_cause(value, call) for value in values]
        for ref, value in zip(call.results, values, strict=False):
            self.state.values[ref] = self._checked(call, ref, value)
        for ref in call.writes:  # with what it is a view of
            self._write(call, ref, values[0] if values else Value())

    def _values_after(self, call: Call) -> Value | list[Value]:
        propagate_units = operation_of(call)
        if propagate_units is None:
            return self.state.stop(call)
        try:
            return propagate_units(self.state, call)
        except (AttributeError, IndexError, TypeError, ValueError):
            return self.state.stop(call)  # a form of the operation that the function does not know

    def _checked(self, call: Call, ref: Ref, value: Value) -> Value:
        """The value of a result, without units where they do not fit the result's shape.

        Args:
            call: the operation.
            ref: the result's.
            value: as the operation's function returns it.
        """
        ids = value.ids
        if ids is None:
            return value
        if _fits(ids, ref):
            return value
        self.state.units.freeze(ids, f"is read by {shown(call)}, which is not followed")
        return Value(data=True)

    def _write(self, call: Call, ref: Ref, value: Value) -> None:
        """Let a tensor that was written into hold the units of what was written.

        Args:
            call: the operation.
            ref: the tensor's, or that of the one that it is a view of.
            value: what was written.
        """
        written = self.state.peek(ref)
        ids, before = value.ids, written.ids
        new_units = value.new_units
        if before is not None or not written.uniform:
            new_units = together([written.new_units, new_units], shown(call))
        if before is not None:  # what was written into is a view: it has units of these
            if ids is not None and before.shape == ids.shape:
                self.state.units.bind(before, ids)
            ids = before
        elif ids is not None:
            ids = ids.reshape((1,) * (len(ref.shape) - ids.ndim) + ids.shape)
            if not _fits(ids, ref):
                self.state.units.freeze(ids, WRITTEN.format(shown(call)))
                ids = None
        self.state.values[ref] = Value(ids, data=True, new_units=new_units)

    # --- ends ------------------------------------------------------------------------------------

    def _leave(self, call: Call) -> None:
        """Freeze the units of the model's output; states may leave at any width."""
        for ref in call.operands:
            value = self.state.peek(ref)
            if value.ids is not None and not value.state:
                self.state.units.freeze(value.ids, "feeds the model's output")

    def _branch(self, call: Call) -> None:
        """Freeze everything where Python reads a number that the next calls may depend on."""
        depends = any(self.state.peek(ref).data for ref in call.operands)
        if depends or self.layers.uncalled(self._record):
            line = f" ({call.where})" if call.where else ""
            self.layers.freeze_all(f"the forward pass branches on data{line}")


def _with_cause(value: Value, call: Call) -> Value:
    """A value of which it is not known why its new units hold no mean: the call is why."""
    return replace(value, new_units=equal(shown(call))) if value.new_units == UNKNOWN else value


def _fits(ids: Ids, ref: Ref) -> bool:
    """Whether units broadcast against a tensor."""
    pairs = zip(ids.shape, ref.shape, strict=False)
    return ids.ndim == len(ref.shape) and all(entries in (1, size) for entries, size in pairs)


def propagate_widths(
    model: nn.Module, layers: Sequence[LayerSpec], record: Record
) -> WidthPropagation:
    """Propagate the units of all layers through a recorded forward pass.

    Tensors outside the layers, such as position tables, have no units at first. Those that keep
    others from growing have some in a second pass.

    Args:
        model: a prepared model.
        layers: its layers and norms.
        record: what the model did with its example inputs.
    """
    propagation = WidthPropagation(model, layers, record, {})
    propagation.run()
    sources = record.sources()
    tables = {
        name: reason
        for ref, reason in propagation.state.blocking.items()
        for name in sources.get(ref, ())
    }
    if tables:  # once more, with units along these
        propagation = WidthPropagation(model, layers, record, tables)
        propagation.run()
    return propagation
