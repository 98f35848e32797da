"""Units that known layers write and read in a recorded forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import nn

from autoquant.graph.tracing.new_units import WRITTEN, NewUnitContents, equal, normalised
from autoquant.graph.tracing.norm_units import NormUnits
from autoquant.graph.tracing.propagation_state import NORMALISED, PropagationState, shown
from autoquant.graph.tracing.record import Call, Record, Ref
from autoquant.graph.tracing.units import NONE, Ids, varies
from autoquant.graph.tracing.values import Value
from autoquant.layers import Axis, LayerSpec, kind_of
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent

NOT_CALLED = "is not called with the example's inputs"
UNUSED = "is called, but no output depends on it"
WEIGHT_READ = "is not called: its weight is read by {}"
SINGLE = "has a single unit"


class _WeightAxis(NamedTuple):
    """An axis of a layer's parameter.

    Attributes:
        layer: the layer.
        parameter: full name of the parameter.
        axis: what is known of the axis.
    """

    layer: LayerSpec
    parameter: str
    axis: Axis


class LayerUnits:
    """The units along the axes of every known layer.

    Args:
        state: the values and units of the forward pass.
        model: that was recorded.
        layers: its layers and norms.

    Attributes:
        rows: for each layer the units of its output (of one direction), [units]; of a norm NONE
            until it has been called.
        columns: for each layer that has been called the units that it reads, [features].
        tables: units along the last axis of tensors outside the layers, by name.
        norms: what LayerNorms and RMSNorms read.
        dropouts: probability of the dropout right before a layer's input, where there is one.
    """

    def __init__(
        self, state: PropagationState, model: nn.Module, layers: Sequence[LayerSpec]
    ) -> None:
        self._state, self._units, self._model = state, state.units, model
        self._specs = {layer.name: layer for layer in layers}
        self.rows: dict[str, Ids] = {
            layer.name: np.full(layer.units, NONE)
            if layer.follows
            else self._units.add(layer.units)
            for layer in layers
        }
        self.columns: dict[str, Ids] = {}
        self.tables: dict[str, Ids] = {}
        self.norms = NormUnits(state.units)
        self.dropouts: dict[str, float] = {}
        self._called: set[str] = set()
        self._contents: dict[str, list[NewUnitContents]] = {}  # of what each layer reads
        self._table_reasons: dict[str, str] = {}

    def call(self, call: Call) -> Value | list[Value]:
        """The values of the results of a call of a known layer or stack of layers.

        Args:
            call: its ``target`` is the name of the layer or stack.
        """
        module = self._model.get_submodule(call.target)
        if not isinstance(module, Recurrent | RecurrentCell):
            return self._layer(call, module)
        values = self._stack(call, module) if isinstance(module, Recurrent) else self._cell(call)
        new_units = equal(f"the recurrent layer {call.target}")
        return [replace(value, new_units=new_units) for value in values]

    def names_of(self, target: str) -> list[str]:
        """The layers that a call of a known module calls.

        Args:
            target: name of a layer, or of a stack of layers.
        """
        module = self._model.get_submodule(target)
        if not isinstance(module, Recurrent):
            return [target]
        return [f"{target}.l{i}".removeprefix(".") for i in range(module.num_layers)]

    def freeze_all(self, reason: str) -> None:
        """Freeze the units of every layer.

        Args:
            reason: why.
        """
        for rows in self.rows.values():
            self._units.freeze(rows, reason)

    def uncalled(self, record: Record) -> set[str]:
        """Layers that other inputs might call: not those whose weight is used all the same.

        Args:
            record: of the forward pass.
        """
        called = {name for target in record.called for name in self.names_of(target)}
        used = {name for layer in called for name in self._weights(layer)}
        return {
            name
            for name in self._specs.keys() - called - record.weights_read.keys()
            if not self._weights(name) or self._weights(name) - used
        }

    def _weights(self, layer: str) -> set[str]:
        """Names of a layer's weights; of one that is shared, in the layer that it belongs to."""
        spec = self._specs[layer]
        weights = (parameter for parameter in spec.parameters if parameter.is_weight)
        return {weight.shared or spec.full_name(weight.name) for weight in weights}

    def freeze_uncalled(self, record: Record) -> None:
        """Freeze the units of layers that no output depends on.

        Args:
            record: of the forward pass.
        """
        uncalled = self.uncalled(record)
        called = {name for target in record.called for name in self.names_of(target)}
        for name in self._specs:
            if name in self._called:
                continue
            if name in called:
                self._units.freeze(self.rows[name], UNUSED)
            elif name in record.weights_read:
                reason = WEIGHT_READ.format(shown(record.weights_read[name]))
                self._units.freeze(self.rows[name], reason)
            elif name in uncalled:
                self._units.freeze(self.rows[name], NOT_CALLED)

    def add_table(self, name: str, ref: Ref, reason: str) -> None:
        """Give a tensor outside the layers units along its last axis, such as a position table.

        Args:
            name: in the state_dict.
            ref: the tensor's.
            reason: why what it is combined with cannot grow, where the table cannot either.
        """
        self.tables[name] = self._units.add(ref.shape[-1])
        self._table_reasons[name] = reason
        ids = self.tables[name].reshape((1,) * (len(ref.shape) - 1) + (-1,))
        self._state.values[ref] = Value(ids, new_units=WRITTEN)

    def freeze_unfit(self) -> None:
        """Freeze what can grow only by rows of a mean or zeros, and does not grow so."""
        for first, second in self._shared():  # those that write one table grow alike, or not
            if first.axis.role == second.axis.role == "out":
                self._units.bind(self.rows[first.layer.name], self.rows[second.layer.name])
        recurrent = (layer.name for layer in self._specs.values() if layer.recurrent)
        self.norms.freeze_unfit(self.rows[name] for name in recurrent)
        known = self.norms.new_units()
        for name, ids in self.tables.items():
            if not all(unit_class in known for unit_class in self._units.classes(ids).tolist()):
                self._units.freeze(ids, self._table_reasons[name])

    def freeze_shared_weights(self) -> None:
        """Freeze what reads or writes a weight that several layers share.

        To copy a unit of one may be to split that of the other.
        """
        for first, second in self._shared():
            if not self._grow_alike(first, second):
                for axis in (first, second):
                    reason = f"{second.parameter} is the weight of {first.layer.name} too"
                    self._units.freeze(self._along(axis), reason)

    def _shared(self) -> Iterator[tuple[_WeightAxis, _WeightAxis]]:
        """Each axis of a parameter that is also that of an earlier layer: there, and here."""
        owners = {
            layer.full_name(parameter.name): (layer, parameter)
            for layer in self._specs.values()
            for parameter in layer.parameters
        }
        for name, (layer, parameter) in owners.items():
            if parameter.shared:
                owner, owned = owners[parameter.shared]
                for axis, owned_axis in zip(parameter.axes, owned.axes, strict=True):
                    first = _WeightAxis(owner, parameter.shared, owned_axis)
                    yield first, _WeightAxis(layer, name, axis)

    def _grow_alike(self, first: _WeightAxis, second: _WeightAxis) -> bool:
        """Whether growing one axis of a shared weight keeps the function of both its layers.

        It does where new rows are a mean or zeros, if the columns that are the same entries read
        zeros: those of a tied output layer behind a norm.

        Args:
            first: the axis in one layer.
            second: the same in the other.
        """
        known = self.norms.new_units()
        classes, others = (self._units.classes(self._along(axis)) for axis in (first, second))
        if not np.array_equal(classes, others) or not all(i in known for i in classes.tolist()):
            return False
        if first.axis.role == second.axis.role or known[int(classes[0])] == "zeros":
            return True
        readers = [axis.layer.name for axis in (first, second) if axis.axis.role == "in"]
        return all(
            part.mean.content == "zeros" for name in readers for part in self._contents[name]
        )

    def _along(self, axis: _WeightAxis) -> Ids:
        """Units along an axis of a parameter, [entries]; none for a fixed one."""
        none = np.empty(0, dtype=np.int64)
        if axis.axis.role == "fixed":
            return none
        units = self.columns if axis.axis.role in ("in", "grouped") else self.rows
        return units.get(axis.layer.name, none)

    # --- one layer -------------------------------------------------------------------------------

    def _layer(self, call: Call, module: nn.Module) -> Value:
        """A call of a layer that is neither a recurrent stack nor a cell."""
        spec = self._specs[call.target]
        axis = getattr(kind_of(module), "axis", -1)
        if spec.new_units != "copies":
            return self._norm_over_units(call, spec, axis)
        refs = call.operands
        values = [self._state.read(ref) for ref in refs]
        for value in values[1:]:
            if value.ids is not None:
                self._units.freeze(value.ids, f"is read by {call.target} as another input")
        if (spec.multiplies or spec.follows) and refs:
            self._read(call.target, values[0], len(refs[0].shape), axis)
        self._called.add(call.target)
        self._bind_to_input(spec)
        if spec.units == 1 and not spec.follows:  # such a value is broadcast over others' units
            self._units.freeze(self.rows[call.target], SINGLE)
            return Value(data=True)
        is_linear = not (spec.recurrent or spec.follows or spec.blocks > 1)
        new_units = WRITTEN if is_linear else equal(f"the {spec.kind} layer {spec.name}")
        ids = _placed(self.rows[call.target], len(call.results[0].shape), axis)
        return Value(ids, data=True, new_units=new_units)

    def _norm_over_units(self, call: Call, spec: LayerSpec, axis: int) -> Value:
        """A call of a LayerNorm or RMSNorm.

        Args:
            call: the call.
            spec: the norm.
            axis: along which it normalises.
        """
        value, ndim = self._state.read(call.operands[0]), len(call.operands[0].shape)
        self._called.add(spec.name)
        ids = value.ids
        if ids is None:
            self._read(spec.name, value, ndim, axis)
            return Value(data=True)
        axis = axis % ndim - ndim  # counted from the back, as ids may have fewer axes
        varying = [other - ids.ndim for other in range(ids.ndim) if varies(ids, other)]
        if varying != [axis]:  # over the entries of a head, say: its own sizes stay
            self._read(spec.name, Value(), ndim, axis)
            self._state.bind_across(ids, [axis], call, NORMALISED)
            return Value(ids, data=True, new_units=equal(f"the norm {spec.name}"))
        self._read(spec.name, value, ndim, axis)
        columns = self.rows[spec.name] = self.columns[spec.name]
        self.norms.read(spec, value, columns)
        return Value(_placed(columns, ndim, axis), data=True, new_units=normalised(spec.name))

    def _bind_to_input(self, spec: LayerSpec) -> None:
        """Bind the units of a norm, or of a layer that works in groups, to those it reads."""
        rows, columns = self.rows[spec.name], self.columns.get(spec.name)
        if columns is None or (spec.blocks == 1 and not spec.follows):
            return
        if spec.follows:
            self.rows[spec.name] = rows = columns
        elif (columns == NONE).any():
            self._units.freeze(rows, "reads channels in groups, and these cannot grow")
            return
        elif len(rows) == len(columns) == spec.blocks:
            self._units.bind(rows, columns)
        if spec.blocks < max(len(rows), len(columns)):
            groups = [ids.reshape(spec.blocks, -1) for ids in (rows, columns)]
            self._units.bind_lines(np.concatenate(groups, 1))

    def _read(self, name: str, value: Value, ndim: int, axis: int) -> None:
        """Let a layer read a value along one axis.

        Args:
            name: the layer's.
            value: what it reads.
            ndim: number of the value's axes.
            axis: along which it reads.
        """
        columns = self._columns_read(name, value, ndim, axis)
        self._contents.setdefault(name, []).append(value.new_units)
        before = self.columns.get(name)
        if before is not None:  # it has been called before
            only_once = (before == NONE) != (columns == NONE)
            for ids in (before, columns):
                self._units.freeze(ids[only_once], f"is read by {name} in more than one way")
            self._units.bind(before, columns)
            columns = np.where(columns == NONE, before, columns)
            if self.dropouts.get(name, 0.0) != value.dropout:
                self.dropouts.pop(name, None)
        elif value.dropout:
            self.dropouts[name] = value.dropout
        self.columns[name] = columns

    def _columns_read(self, name: str, value: Value, ndim: int, axis: int) -> Ids:
        """The units that a layer reads in one call, [features]; arguments as of ``_read``.

        Args:
            name: the layer's.
            value: what it reads.
            ndim: number of the value's axes.
            axis: along which it reads.
        """
        features = self._specs[name].features
        if value.ids is None:
            return np.full(features, NONE)
        ids = value.ids.reshape((1,) * (ndim - value.ids.ndim) + value.ids.shape)
        if any(varies(ids, other) for other in range(ndim) if other != axis % ndim):
            self._units.freeze(ids, f"is read by {name} along more than one axis")
            return np.full(features, NONE)
        return np.broadcast_to(ids.reshape(-1), features).copy()

    # --- recurrent layers ------------------------------------------------------------------------

    def _stack(self, call: Call, stack: Recurrent) -> list[Value]:
        """A call of all layers of a stack; the values of [output, h] or [output, h, c]."""
        refs, results = call.operands, call.results
        value, ndim = self._state.read(refs[0]), len(refs[0].shape)
        names = self.names_of(call.target)
        for name in names:
            self._called.add(name)
            self._read(name, value, ndim, -1)
            output = np.tile(self.rows[name], self._specs[name].directions)
            value = Value(_placed(output, ndim, -1), dropout=stack.dropout, data=True)
        hidden = self._state_units(names, stack)
        memory = None if stack.layers[0].proj_size else hidden  # cells are not the output's units
        for ref, units in zip(refs[1:], (hidden, memory), strict=False):
            self._set_initial_state(call.target, self._state.peek(ref), units)
        unbatched = len(results[1].shape) == 2
        states = [
            Value(units[:, 0] if units is not None and unbatched else units, state=True, data=True)
            for units in (hidden, memory)
        ]
        return [Value(value.ids, data=True), *states[: len(results) - 1]]

    def _state_units(self, names: Iterable[str], stack: Recurrent) -> Ids | None:
        """Units of a stack's state [L*D, 1, W]; None where layers have different widths."""
        directions = stack.layers[0].directions
        rows = [self.rows[name] for name in names for _ in range(directions)]
        return np.stack(rows)[:, None] if len({*map(len, rows)}) == 1 else None

    def _set_initial_state(self, name: str, value: Value, units: Ids | None) -> None:
        """Bind the units of an initial state to those of the stack.

        Args:
            name: the stack's.
            value: the state that it is given, [L*D, B, W] or [L*D, W].
            units: of the stack's state, [L*D, 1, W]; None where they are not known.
        """
        if value.ids is None:
            return
        ids = value.ids if value.ids.ndim == 3 else value.ids[:, None]
        fits = units is not None and ids.shape[0] in (1, len(units))
        if units is None or not fits or varies(ids, 1) or ids.shape[-1] != units.shape[-1]:
            self._units.freeze(ids, f"sets the initial state of {name}")
            return
        if not value.state:
            self._units.bind(units[:1], units)
        self._units.bind(ids, units)

    def _cell(self, call: Call) -> list[Value]:
        """One time step of a cell: its state is made of its own units."""
        refs = call.operands
        rows, ndim = self.rows[call.target], len(refs[0].shape)
        self._called.add(call.target)
        self._read(call.target, self._state.read(refs[0]), ndim, -1)
        for ref in refs[1:]:
            ids = self._state.read(ref).ids
            if ids is not None and ids.shape[-1] == len(rows) == ids.size:
                self._units.bind(ids.reshape(-1), rows)
            elif ids is not None:
                self._units.freeze(ids, f"sets the state of {call.target}")
        return [Value(_placed(rows, ndim, -1), data=True) for _ in call.results]


def _placed(units: Ids, ndim: int, axis: int) -> Ids:
    """Units along one axis of a value.

    Args:
        units: [entries of the axis].
        ndim: number of the value's axes.
        axis: which, counted from either end.
    """
    shape = [1] * ndim
    shape[axis] = len(units)
    return units.reshape(shape)
