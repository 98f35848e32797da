"""The four operators of a recorded program that stand for quantized layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import Node

from autoquant.exports.c.code_rows import PADDING
from autoquant.exports.c.elementwise import entries
from autoquant.exports.c.literals import literal
from autoquant.exports.c.lowering import Cost, Lowering, Value, arguments, lowers
from autoquant.exports.c.memory import View
from autoquant.exports.c.places import refused
from autoquant.exports.c.weights import Product, matrix, rounding
from autoquant.exports.layers import (
    Direction,
    LinearLayer,
    RecurrentLayerValues,
    StackLayer,
    TableLayer,
)
from autoquant.exports.markers import LINEAR, ROUNDING, STACK, TABLE
from autoquant.exports.weights import Weight

STEPS = {
    ("lstm", "tanh"): "lstm_step",
    ("lstm", "sigmoid"): "lstm_sigmoid_step",
    ("gru", "tanh"): "gru_step",
    ("rnn_tanh", "tanh"): "rnn_tanh_step",
    ("rnn_relu", "tanh"): "rnn_relu_step",
}
"""C functions of cells, by kind and candidate."""


def _marked(name: str) -> str:
    return f"autoquant_export.{name}"


def bits_text(*weights: Weight | None) -> str:
    """Bits of weights, as in "4" or "4, 8".

    Args:
        weights: of a layer.
    """
    return ", ".join(dict.fromkeys(str(w.bits) for w in weights if w is not None))


def note_floats(lowering: Lowering, layer: str, product: Product) -> None:
    """Note that a product stays in float, where it does.

    Args:
        lowering: that notes it.
        layer: name of the layer.
        product: of the layer.
    """
    if product.reason:
        lowering.floats.setdefault(layer, product.reason)


class Room:
    """Memory in which inputs of products are prepared: the most that any of them needs."""

    def __init__(self) -> None:
        self.floats = 0
        self.bytes = 0

    def add(self, product: Product, *, copied: bool = False) -> None:
        """Make room for the inputs of a product.

        Args:
            product: the weight and how its inputs are rounded.
            copied: whether they are copied even where they are not rounded.
        """
        columns = product.weight.shape[1]
        if not product.coded and (product.inputs is not None or copied):
            self.floats = max(self.floats, columns)
        self.bytes = max(self.bytes, product.scratch)

    def views(self, lowering: Lowering, cost: Cost) -> tuple[View | None, View | None]:
        """The memory, or None where none is needed: values and codes.

        Args:
            lowering: that reserves it.
            cost: of the operation.
        """
        values = lowering.new((self.floats,), "float", cost) if self.floats else None
        codes = lowering.new((self.bytes,), "int8_t", cost) if self.bytes else None
        return values, codes


def pointer(view: View | None) -> str:
    """C expression of an address.

    Args:
        view: the memory, or None.
    """
    return "NULL" if view is None else view.pointer


@lowers(_marked(LINEAR))
def _linear(lowering: Lowering, node: Node) -> Value:
    layer = lowering.recording.source.layers[str(arguments(node)[1])]
    assert isinstance(layer, LinearLayer)
    x, product = (
        lowering.contiguous(lowering.view(arguments(node)[0])),
        Product(layer.weight, layer.inputs),
    )
    note_floats(lowering, layer.name, product)
    cost = lowering.cost("linear", bits_text(layer.weight), layer.name)
    w = matrix(lowering.data, f"data_{layer.name}", layer.name, product, layer.bias)
    r = rounding(lowering.data, product)
    room, out = Room(), lowering.result(cost)
    room.add(product)
    values, codes = room.views(lowering, cost)
    count = x.size // layer.weight.shape[1]
    call = f"linear(&{w}, &{r}, {x.pointer}, {count}, {out.pointer}, "
    lowering.emit(f"{call}{pointer(values)}, {pointer(codes)});", x, out, values, codes)
    return out


@lowers(_marked(TABLE))
def _table(lowering: Lowering, node: Node) -> Value:
    layer = lowering.recording.source.layers[str(arguments(node)[1])]
    assert isinstance(layer, TableLayer)
    indices = lowering.contiguous(lowering.view(arguments(node)[0]))
    product = Product(layer.table, None)
    cost = lowering.cost("table", bits_text(layer.table), layer.name)
    w = matrix(lowering.data, f"data_{layer.name}", layer.name, product, None, "decode")
    out = lowering.result(cost)
    scratch = lowering.new((product.scratch,), "int8_t", cost) if product.scratch else None
    call = f"look_up(&{w}, {indices.pointer}, {indices.size}, {out.pointer}, {pointer(scratch)});"
    lowering.emit(call, indices, out, scratch)
    if layer.zero_rows:
        _clear(lowering, layer, indices, out)
    return out


def _clear(lowering: Lowering, layer: TableLayer, indices: View, out: View) -> None:
    """Zero the rows that are zero whatever their codes say.

    Args:
        lowering: gets the statement.
        layer: the table.
        indices: of rows.
        out: the rows.
    """
    cell = f"({indices.pointer})[i]"
    test = " || ".join(f"{cell} == {row}" for row in layer.zero_rows)
    width = layer.table.shape[1]
    to = f"{out.pointer} + i * {width}"
    lowering.emit(
        f"for (int32_t i = 0; i < {indices.size}; i++)\n"
        f"    if ({test}) memset({to}, 0, {width} * sizeof(float));",
        indices,
        out,
    )


@lowers(_marked(ROUNDING))
def _rounding(lowering: Lowering, node: Node) -> Value:
    """Rounded values; nothing where all that read them read codes: see ``codes_of``."""
    if all(lowering.reads_codes(user) for user in node.users):
        return ()
    scale, low, high, bits = arguments(node)[1:5]
    if int(bits) > 8:
        return entries(lowering, node, "half_of({0})", arguments(node)[:1])
    text = literal(float(scale))
    return entries(
        lowering, node, f"level_of({{0}}, {text}, {low}, {high}) * {text}", arguments(node)[:1]
    )


def codes_of(lowering: Lowering, node: Node) -> View:
    """The codes of rounded values; they are computed once.

    Args:
        lowering: gets the statement.
        node: a rounding of at most eight bits.
    """
    if node not in lowering.codes:
        source = lowering.contiguous(lowering.view(arguments(node)[0]))
        scale, low, high = arguments(node)[1:4]
        codes = lowering.new((source.size + PADDING,), "int8_t", lowering.cost("rounding"))
        text = literal(float(scale))
        call = f"encode({source.pointer}, {source.size}, {text}, {low}, {high}, {codes.pointer});"
        lowering.emit(call, source, codes)
        lowering.codes[node] = codes
    return lowering.codes[node]


@lowers(_marked(STACK))
def _stack(lowering: Lowering, node: Node) -> Value:
    layer = lowering.recording.source.layers[str(arguments(node)[3])]
    assert isinstance(layer, StackLayer)
    x = lowering.contiguous(lowering.view(arguments(node)[0]))
    steps, batch = x.shape[:2]
    if batch != 1:
        raise refused(node, f"the batch must be 1, got {batch}")
    bits = [b for part in layer.layers for b in _weights(part)]
    cost = lowering.cost(layer.cell.kind, bits_text(*bits), layer.name)
    states = [_state(lowering, cost, argument) for argument in arguments(node)[1:3]]
    out = lowering.result(cost, 0)
    widest = max(part.units for part in layer.layers) * layer.directions * steps
    between = [
        lowering.new((widest,), "float", cost) if n < len(layer.layers) - 1 else None
        for n in range(2)
    ]
    rooms = _rooms(lowering, cost, layer)
    name = _stack_structure(lowering, layer)
    members = ", ".join(map(pointer, rooms))
    states_text = ", ".join(map(pointer, states))
    lowering.emit(
        "{\n"
        f"    const rooms r = {{{members}}};\n"
        f"    run_stack(&{name}, {x.pointer}, {steps}, {states_text}, {out.pointer}, "
        f"{', '.join(map(pointer, between))}, &r);\n"
        "}",
        *(x, out, *states, *between, *rooms),
    )
    empty = View(out.buffer, (0,), (1,))
    return (out, *(empty if state is None else state for state in states))


def _state(lowering: Lowering, cost: Cost, argument: Any) -> View | None:
    """A state that the stack changes in place: the caller's own, or a copy of a value.

    Args:
        lowering: gets the copy.
        cost: of the stack.
        argument: of the stack, or None.
    """
    if argument is None:
        return None
    value = lowering.values[argument]
    given = lowering.view(argument)
    own = not isinstance(value, Tensor) and given.buffer.name.startswith("state->")
    if own and given.contiguous and len(argument.users) == 1:
        return given
    copy = lowering.new(given.shape, "float", cost)
    lowering.each(copy, [given], "{0}")
    return copy


def _weights(layer: RecurrentLayerValues) -> list[Weight]:
    found = [w for d in layer.directions for w in (d.input, d.recurrent, d.projection)]
    return [weight for weight in found if weight is not None]


def _rooms(lowering: Lowering, cost: Cost, layer: StackLayer) -> list[View | None]:
    """The members of ``rooms``: the most that a direction of any layer needs.

    Args:
        lowering: that reserves the memory.
        cost: of the stack.
        layer: the stack.
    """
    inputs, hidden, cells = Room(), Room(), 0
    for part in layer.layers:
        for direction in part.directions:
            inputs.add(Product(direction.input, part.inputs))
            hidden.add(Product(direction.recurrent, part.hidden), copied=True)
            if direction.projection is not None:
                projected = Product(direction.projection, None)
                hidden.bytes = max(hidden.bytes, projected.scratch)
                cells = max(cells, part.cells)
    (values, codes), (hidden_values, hidden_codes) = (
        room.views(lowering, cost) for room in (inputs, hidden)
    )
    unprojected = lowering.new((cells,), "float", cost) if cells else None
    return [values, hidden_values, unprojected, codes, hidden_codes]


def _stack_structure(lowering: Lowering, layer: StackLayer) -> str:
    """Name of the structure of a stack.

    Args:
        lowering: that has its data.
        layer: the stack.
    """
    name = f"data_{layer.name}"
    directions = [
        f"    {{\n{_direction(lowering, layer, part, index)}\n    }}"
        for part in layer.layers
        for index in range(len(part.directions))
    ]
    count = len(directions)
    table = lowering.data.names.new(f"{name}_directions")
    rows = ",\n".join(directions)
    lowering.data.texts.append(f"static const direction {table}[{count}] = {{\n{rows}\n}};\n")
    widths = (*layer.widths, 0)[:2]
    fields = {
        "step": STEPS[layer.cell.kind, layer.cell.candidate],
        "directions": table,
        "layers": len(layer.layers),
        "directions_per_layer": layer.directions,
        "h_width": widths[0],
        "c_width": widths[1],
    }
    text = ",\n".join(f"    .{key} = {value}" for key, value in fields.items())
    return lowering.data.structure("stack", f"{name}_stack", text)


def _direction(
    lowering: Lowering, layer: StackLayer, part: RecurrentLayerValues, index: int
) -> str:
    """The fields of a direction.

    Args:
        lowering: that has its data.
        layer: the stack.
        part: the layer.
        index: of the direction.
    """
    direction: Direction = part.directions[index]
    data, name = lowering.data, f"data_{part.name}" + "_reverse" * index
    products = {
        "input": (Product(direction.input, part.inputs), direction.bias),
        "recurrent": (Product(direction.recurrent, part.hidden), None),
    }
    if direction.projection is not None:
        products["projection"] = Product(direction.projection, None), None
    fields = {}
    for key, (product, bias) in products.items():
        if key != "projection":
            note_floats(lowering, f"{part.name}: {key} product", product)
        w = matrix(data, f"{name}_{key}", layer.name, product, bias)
        fields[key] = f"&{w}"
    if direction.candidate_bias is not None:
        bias = direction.candidate_bias
        fields["candidate_bias"] = data.array(f"{name}_candidate_bias", bias, layer.name)
    fields["inputs"] = f"&{rounding(data, products['input'][0])}"
    fields["hidden"] = f"&{rounding(data, products['recurrent'][0], copied=True)}"
    fields |= {"units": str(part.units), "cells": str(part.cells)}
    return ",\n".join(f"        .{key} = {value}" for key, value in fields.items())
