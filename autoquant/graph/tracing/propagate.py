"""Following units along a recorded forward pass, from where they are made to where they are read.

Where units meet, they become one; where something looks across units, they are bound together or,
if nothing is left that could grow, frozen, with the reason in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from autoquant.graph.tracing import operations
from autoquant.graph.tracing.propagation_state import PropagationState, shown
from autoquant.graph.tracing.record import Call, Record, Ref, refs_in
from autoquant.graph.tracing.units import NONE, Ids
from autoquant.graph.tracing.values import Value, varies
from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent

UNSEEN = "is not called with the example's inputs"
SINGLE = "has a single unit"


class WidthPropagation:
    """One pass over the recorded calls, in order.

    Attributes:
        rows: for each layer the units of its output (of one direction).
        columns: for each layer the units that it reads.
        dropouts: the probability of the dropout right before a layer's input.
    """

    def __init__(self, model: nn.Module, layers: Sequence[LayerSpec], record: Record) -> None:
        self.propagation = PropagationState()
        self.layers = {layer.name: layer for layer in layers}
        self.model = model
        units = self.propagation.units
        self.rows = {
            layer.name: np.full(layer.units, NONE) if layer.follows else units.fresh(layer.units)
            for layer in layers
        }
        self.columns: dict[str, Ids] = {}
        self.dropouts: dict[str, float] = {}
        self.propagation.values.update(
            (ref, Value(data=ref.dtype.is_floating_point)) for ref in record.inputs
        )
        self._record = record
        self._called: set[str] = set()

    def run(self) -> None:
        """Follow everything."""
        for call in self._record.live():
            if call.target == "output":
                self._leave(call)
            elif call.target == "read":
                self._branch(call)
            elif call.target == "dropout":
                value = self.propagation.read(call.given[0])
                self._set(call, Value(value.ids, dropout=call.given[1], data=value.data))
            elif call.layer:
                self._set(call, self._layer(call))
            else:
                self._operate(call)
        for name in self.layers.keys() - self._called:
            self.propagation.units.freeze(self.rows[name], UNSEEN)
        self._freeze_shared()

    def _operate(self, call: Call) -> None:
        rule = operations.rule_of(call)
        try:
            made = self.propagation.stop(call) if rule is None else rule(self.propagation, call)
        except (AttributeError, IndexError, TypeError, ValueError):
            made = self.propagation.stop(
                call
            )  # a form of the operation that its rule does not know
        results = refs_in(call.result)
        values = [made if isinstance(made, Value) else Value(data=True)] * len(results)
        if isinstance(made, list):
            values = made
        for ref, value in zip(results, values, strict=False):
            self.propagation.values[ref] = self._fitting(call, ref, value)
        for ref in call.writes:  # and what it is a view of
            self._write(ref, values[0] if values else Value())

    def _fitting(self, call: Call, ref: Ref, value: Value) -> Value:
        """A rule's value, or one without units where these are not along the result's axes."""
        ids = value.ids
        if ids is None or (
            ids.ndim == len(ref.shape)
            and all(n in (1, size) for n, size in zip(ids.shape, ref.shape, strict=True))
        ):
            return value
        self.propagation.units.freeze(ids, f"is read by {shown(call)}, which is not followed")
        return Value(data=True)

    def _write(self, ref: Ref, value: Value) -> None:
        ids = value.ids
        if ids is not None and len(ref.shape) != ids.ndim:
            line = ids.reshape(-1)
            if ref.shape[-1:] != (len(line),) or any(n > 1 for n in ids.shape[:-1]):
                self.propagation.units.freeze(
                    ids, "is written into a tensor in a way that is not followed"
                )
                return
            ids = line.reshape((1,) * (len(ref.shape) - 1) + (-1,))
        before = self.propagation.values.get(ref, Value()).ids
        if before is not None and ids is not None and before.shape == ids.shape:
            self.propagation.units.unite(before, ids)
        self.propagation.values[ref] = Value(before if ids is None else ids, data=True)

    def _set(self, call: Call, made: Any) -> None:
        values = made if isinstance(made, list) else [made]
        for ref, value in zip(refs_in(call.result), values, strict=False):
            self.propagation.values[ref] = value

    # --- layers ----------------------------------------------------------------------------------

    def _layer(self, call: Call) -> Any:
        module = self.model.get_submodule(call.target)
        if isinstance(module, Recurrent):
            return self._recurrent(call, module)
        if isinstance(module, RecurrentCell):
            return self._cell(call)
        spec, kind = self.layers[call.target], kind_of(module)
        axis = getattr(kind, "axis", -1)
        refs = refs_in((call.given, dict(call.named)))
        values = [self.propagation.read(ref) for ref in refs]
        for value in values[1:]:
            if value.ids is not None:
                self.propagation.units.freeze(
                    value.ids, f"is read by {call.target} as another input"
                )
        if (spec.multiplies or spec.follows) and refs:
            self.consume(call.target, values[0], len(refs[0].shape), axis)
        self._called.add(call.target)
        self._relate(spec)
        made = refs_in(call.result)[0]
        if spec.units == 1 and not spec.follows:  # such a value is spread over others' units
            self.propagation.units.freeze(self.rows[call.target], SINGLE)
            return Value(data=True)
        return Value(_placed(self.rows[call.target], len(made.shape), axis), data=True)

    def _relate(self, spec: LayerSpec) -> None:
        """Tie the units of a layer to those it reads, where entry by entry or in groups."""
        rows, columns = self.rows[spec.name], self.columns.get(spec.name)
        if columns is None or (spec.blocks == 1 and not spec.follows):
            return
        if spec.follows:
            self.rows[spec.name] = rows = columns
        elif (columns == NONE).any():
            self.propagation.units.freeze(rows, "reads channels in groups, and these cannot grow")
            return
        elif len(rows) == len(columns) == spec.blocks:
            self.propagation.units.unite(rows, columns)
        if spec.blocks < max(len(rows), len(columns)):
            lines = [each.reshape(spec.blocks, -1) for each in (rows, columns)]
            self.propagation.units.bind(np.concatenate(lines, 1))

    def consume(self, name: str, value: Value, ndim: int, axis: int) -> None:
        """A layer reads a value along one axis."""
        size = self.layers[name].features
        line = np.full(size, NONE)
        if value.ids is not None:
            ids = value.ids.reshape((1,) * (ndim - value.ids.ndim) + value.ids.shape)
            others = [i for i in range(ndim) if i != axis % ndim]
            if any(varies(ids, i) for i in others):
                self.propagation.units.freeze(ids, f"is read by {name} along more than one axis")
            else:
                line = np.broadcast_to(ids.reshape(-1), size).copy()
        before = self.columns.get(name)
        if before is not None:
            odd = (before == NONE) != (line == NONE)
            for each in (before, line):
                self.propagation.units.freeze(each[odd], f"is read by {name} in more than one way")
            self.propagation.units.unite(before, line)
            line = np.where(line == NONE, before, line)
            if self.dropouts.get(name, 0.0) != value.dropout:
                self.dropouts.pop(name, None)
        elif value.dropout:
            self.dropouts[name] = value.dropout
        self.columns[name] = line

    def _recurrent(self, call: Call, stack: Recurrent) -> list[Value]:
        """All layers of a stack; [output, h] or [output, h, c]."""
        refs = refs_in((call.given, dict(call.named)))
        value, ndim = self.propagation.read(refs[0]), len(refs[0].shape)
        names = self._layers_of(call.target)
        for name in names:
            self._called.add(name)
            self.consume(name, value, ndim, -1)
            layer = self.layers[name]
            ids = _placed(np.tile(self.rows[name], layer.directions), ndim, -1)
            value = Value(ids, dropout=stack.dropout, data=True)
        rows = [self.rows[name] for name in names for _ in range(stack.layers[0].directions)]
        alike = len({*map(len, rows)}) == 1  # not in a stack that has been grown
        own = np.stack(rows)[:, None] if alike else None
        cells = None if stack.layers[0].proj_size else own
        for ref, units in zip(refs[1:], (own, cells), strict=False):
            self._start(call.target, self.propagation.peek(ref), units)
        made = refs_in(call.result)
        flat = len(made[1].shape) == 2
        states = [
            Value(None if units is None else units[:, 0] if flat else units, state=True, data=True)
            for units in (own, cells)
        ]
        return [Value(value.ids, data=True), *states[: len(made) - 1]]

    def _start(self, name: str, value: Value, units: Ids | None) -> None:
        """An initial state: its units become the layer's."""
        if value.ids is None:
            return
        ids = value.ids if value.ids.ndim == 3 else value.ids[:, None]
        if units is None or ids.shape[1] > 1 or ids.shape[-1] != units.shape[-1]:
            self.propagation.units.freeze(ids, f"sets the initial state of {name}")
        elif ids.shape[0] in (1, len(units)):
            if not value.state:
                self.propagation.units.unite(units[:1], units)
            self.propagation.units.unite(ids, units)
        else:
            self.propagation.units.freeze(ids, f"sets the initial state of {name}")

    def _cell(self, call: Call) -> list[Value]:
        """One step of a cell: its state is made of its own units."""
        refs = refs_in((call.given, dict(call.named)))
        rows, ndim = self.rows[call.target], len(refs[0].shape)
        self._called.add(call.target)
        self.consume(call.target, self.propagation.read(refs[0]), ndim, -1)
        ids = _placed(rows, ndim, -1)
        for ref in refs[1:]:
            given = self.propagation.read(ref).ids
            if given is not None and given.shape[-1] == len(rows) == given.size:
                self.propagation.units.unite(given.reshape(-1), rows)
            elif given is not None:
                self.propagation.units.freeze(given, f"sets the state of {call.target}")
        return [Value(ids, data=True) for _ in refs_in(call.result)]

    # --- ends ------------------------------------------------------------------------------------

    def _leave(self, call: Call) -> None:
        for ref in refs_in(call.given):
            value = self.propagation.peek(ref)
            if value.ids is not None and not value.state:
                self.propagation.units.freeze(value.ids, "feeds the model's output")

    def _branch(self, call: Call) -> None:
        """Python reads a number: what the model does next may depend on it."""
        depends = self.propagation.peek(call.given[0]).data
        seen = {layer for name in self._record.called for layer in self._layers_of(name)}
        unseen = self.layers.keys() - seen
        if not depends and not unseen:
            return
        for name in self.layers:
            at = f" ({call.where})" if call.where else ""
            self.propagation.units.freeze(self.rows[name], f"the forward pass branches on data{at}")

    def _layers_of(self, name: str) -> list[str]:
        """The layers that a call of a known module calls."""
        module = self.model.get_submodule(name)
        if not isinstance(module, Recurrent):
            return [name]
        return [f"{name}.l{i}".removeprefix(".") for i in range(module.num_layers)]

    def _freeze_shared(self) -> None:
        """Freeze what reads or writes a weight that several layers share.

        To copy a unit of one may be to split that of the other.
        """
        owners = {
            layer.full_name(p.name): layer
            for layer in self.layers.values()
            for p in layer.parameters
        }
        for layer in self.layers.values():
            for parameter in layer.parameters:
                if not parameter.shared:
                    continue
                owner = owners[parameter.shared]
                reason = f"{layer.full_name(parameter.name)} is the weight of {owner.name} too"
                for name in (owner.name, layer.name):
                    for side in (self.rows, self.columns):
                        self.propagation.units.freeze(side.get(name, NONE), reason)


def _placed(units: Ids, ndim: int, axis: int) -> Ids:
    """Units along one axis of a value with ``ndim`` axes."""
    shape = [1] * ndim
    shape[axis] = len(units)
    return units.reshape(shape)


def follow(model: nn.Module, layers: Sequence[LayerSpec], record: Record) -> WidthPropagation:
    """The walk along a record, done."""
    walk = WidthPropagation(model, layers, record)
    walk.run()
    return walk
