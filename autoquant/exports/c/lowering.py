"""What the C text of a pass is collected in, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from autoquant.exports.c.data import Data
from autoquant.exports.c.memory import Buffer, Kind, View, dense, product
from autoquant.exports.c.places import layer_of, refused
from autoquant.exports.recording import Recording
from autoquant.exports.weights import CodedWeight

Value = View | Tensor | tuple["View", ...]
"""Of an operation: in memory, known at export, or several."""
FLOATS = (torch.float32,)
NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


@dataclass
class Cost:
    """What one operation needs.

    Attributes:
        name: of the layer.
        operation: what it does.
        bits: of its weight, or "".
        buffers: that only it needs, or that it writes.
    """

    name: str
    operation: str
    bits: str = ""
    buffers: list[Buffer] = field(default_factory=list)


@dataclass
class Lowering:
    """Statements of a pass, with their buffers and constants.

    Attributes:
        recording: that is lowered.
        data: constants.
        values: of nodes so far.
        statements: C text, in order.
        buffers: of the statements.
        costs: by layer and operation.
        floats: layers that multiply floats, with the reason.
        codes: of activations that are read as codes, by their rounding.
        parameters: names of parameters in the model, by those of their nodes.
        node: that is lowered now.
    """

    recording: Recording
    data: Data
    values: dict[Node, Value] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)
    floats: dict[str, str] = field(default_factory=dict)
    codes: dict[Node, View] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    node: Node = field(init=False)

    def coded_weight(self, argument: Any) -> CodedWeight | None:
        """The codes of a parameter, or None.

        Args:
            argument: of an operation.
        """
        name = self.parameters.get(argument.name, "") if isinstance(argument, Node) else ""
        return self.recording.source.weights.get(name)

    def reads_codes(self, user: Node) -> bool:
        """Whether an operation reads the codes of its first argument, not the values.

        Args:
            user: the operation; its first argument is rounded.
        """
        if name_of(user) != "convolution" or self.coded_weight(user.args[1]) is None:
            return False
        rounded, *others = arguments(user)
        _, _, low, high, bits = arguments(rounded)
        return rounded not in others and bits <= 8 and high - low < 256

    @property
    def layer(self) -> str:
        """Name of the layer that is lowered; for a marked operator that which it names."""
        return layer_of(self.node) or "model"

    def cost(self, operation: str, bits: str = "", layer: str | None = None) -> Cost:
        """The record of what an operation needs.

        Args:
            operation: what it does.
            bits: of its weight.
            layer: its name; None for that of the node.
        """
        name = layer or self.layer
        return self.costs.setdefault((name, operation), Cost(name, operation, bits))

    def new(self, shape: Sequence[int], kind: Kind = "float", cost: Cost | None = None) -> View:
        """A tensor in memory of its own.

        Args:
            shape: sizes of its axes.
            kind: type of its entries.
            cost: of the operation that writes it.
        """
        buffer = Buffer(kind, product(shape), f"v{len(self.buffers) + 1}")
        self.buffers.append(buffer)
        if cost is not None:
            cost.buffers.append(buffer)
        return View(buffer, tuple(shape), dense(shape))

    def emit(self, text: str, *views: View | None) -> None:
        """Append a statement.

        Args:
            text: C source, without indentation.
            views: that it reads or writes.
        """
        index = len(self.statements)
        self.statements.append(text)
        for view in views:
            if view is not None:
                buffer = view.buffer
                buffer.first = index if buffer.first < 0 else buffer.first
                buffer.last = index

    def kind(self, dtype: torch.dtype) -> Kind:
        """The C type of a tensor's entries.

        Args:
            dtype: of the tensor.

        Raises:
            UserError: there is none.
        """
        if dtype in FLOATS:
            return "float"
        if dtype in NUMBERS:
            return "int32_t"
        raise refused(self.node, f"tensors must be float32 or whole numbers, got {dtype}")

    def result(self, cost: Cost | None = None, index: int | None = None) -> View:
        """Memory for the result of the node that is lowered.

        Args:
            cost: of the operation.
            index: of the result, where there are several.
        """
        value = self.node.meta["val"]
        value = value if index is None else value[index]
        return self.new(value.shape, self.kind(value.dtype), cost)

    def view(self, argument: Any) -> View:
        """A tensor that an operation reads, in memory.

        Args:
            argument: of the operation: a node, or a number.
        """
        value = self.values[argument] if isinstance(argument, Node) else torch.tensor(argument)
        if isinstance(value, Tensor):
            return self.constant(value, str(argument))
        assert isinstance(value, View)
        return value

    def known(self, argument: Any) -> Tensor | None:
        """A tensor that is known at export; None where the operation has none.

        Args:
            argument: of an operation: a node or None.

        Raises:
            UserError: it is computed in a pass.
        """
        if argument is None:
            return None
        value = self.values[argument]
        if not isinstance(value, Tensor):
            raise refused(self.node, "its parameters must be constants")
        return value.detach()

    def constant(self, value: Tensor, name: str) -> View:
        """A tensor in flash.

        Args:
            value: its entries.
            name: what it is called like.
        """
        kind = self.kind(value.dtype)
        array = value.detach().numpy().astype(np.float32 if kind == "float" else np.int32)
        name = self.data.array(f"data_{name}", array, self.layer)
        buffer = Buffer(kind, array.size, name, placed=False)
        return View(buffer, tuple(value.shape), dense(value.shape))

    def contiguous(self, view: View) -> View:
        """The same tensor with entries that lie one after another.

        Args:
            view: any.
        """
        if view.contiguous:
            return view
        copy = self.new(view.shape, view.buffer.kind, self.cost("copies"))
        self.each(copy, [view], "{0}")
        return copy

    def each(self, out: View, inputs: Sequence[View], expression: str) -> None:
        """Compute each entry of a tensor from the same entries of others.

        Args:
            out: that is written.
            inputs: that are read; they broadcast to its shape.
            expression: with {0}, {1}, ... for their entries.
        """
        spread = [broadcast(view, out.shape) for view in inputs]
        loop = Loop.over([out, *spread], range(len(out.shape)), "ijklmnpq")
        target, *cells = loop.cells([out, *spread])
        out.buffer.over = _over(out, inputs)
        self.emit(loop.text(f"{target} = {expression.format(*cells)};"), out, *inputs)

    def reduce(
        self,
        out: View,
        inputs: Sequence[View],
        axes: Sequence[int],
        start: str,
        step: str,
        end: str,
    ) -> None:
        """Compute each entry of a tensor from many entries of others.

        Args:
            out: that is written: as the inputs, with a size of 1 along the axes.
            inputs: of one shape.
            axes: that are reduced.
            start: first value of ``r``.
            step: statement that changes ``r``, with {0}, {1}, ... for the entries.
            end: expression of the result.
        """
        shape = inputs[0].shape
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        views = [broadcast(out, shape), *inputs]
        outer, inner = Loop.over(views, kept, "ijklmn"), Loop.over(views, axes, "abcdef")
        target, *cells = (
            _cell(view, [*outer.terms[n], *inner.terms[n]]) for n, view in enumerate(views)
        )
        body = "\n".join(
            [
                "{",
                f"    {out.buffer.kind} r = {start};",
                *(f"    {line}" for line in inner.text(step.format(*cells)).split("\n")),
                f"    {target} = {end};",
                "}",
            ]
        )
        self.emit(outer.text(body), out, *inputs)


def _over(out: View, inputs: Sequence[View]) -> Buffer | None:
    """The buffer of an input that a result may be written over, or None.

    Args:
        out: the result, each entry of which is computed from the same entries of the inputs.
        inputs: that are read.
    """
    for view in inputs:
        buffer = view.buffer
        alike = [v for v in inputs if v.buffer is buffer]
        whole = all(v.contiguous and v.size == buffer.size == out.size for v in alike)
        if buffer.kind == out.buffer.kind and whole and out.size == out.buffer.size:
            return buffer
    return None


def broadcast(view: View, shape: Sequence[int]) -> View:
    """A tensor that is repeated along axes, without a copy.

    Args:
        view: the tensor.
        shape: that it gets.
    """
    missing = len(shape) - len(view.shape)
    pairs = zip(view.shape, view.strides, shape[missing:], strict=True)
    strides = [stride if size == target else 0 for size, stride, target in pairs]
    return View(view.buffer, tuple(shape), (*[0] * missing, *strides), view.offset)


def _cell(view: View, terms: Sequence[str]) -> str:
    """C expression of an entry.

    Args:
        view: the tensor.
        terms: of the index, without its offset.
    """
    index = " + ".join([*terms, *([str(view.offset)] if view.offset else [])])
    return f"{view.buffer.name}[{index or 0}]"


@dataclass(frozen=True)
class Loop:
    """Nested loops over axes of tensors.

    Attributes:
        variables: of the loops, with their sizes.
        terms: for each tensor, the parts of its index.
    """

    variables: tuple[tuple[str, int], ...]
    terms: tuple[tuple[str, ...], ...]

    @classmethod
    def over(cls, views: Sequence[View], axes: Sequence[int], letters: str) -> Loop:
        """Loops over some axes; neighbours that every tensor passes through at once become one.

        Args:
            views: the tensors, of one shape.
            axes: of them.
            letters: names of variables.
        """
        merged: list[tuple[int, list[int]]] = []
        for axis in axes:
            size, strides = views[0].shape[axis], [view.strides[axis] for view in views]
            if size == 1:
                continue
            if merged and all(a == b * size for a, b in zip(merged[-1][1], strides, strict=True)):
                merged[-1] = (merged[-1][0] * size, strides)
            else:
                merged.append((size, strides))
        variables = tuple((letters[n], size) for n, (size, _) in enumerate(merged))
        terms = tuple(
            tuple(
                letters[n] if strides[v] == 1 else f"{letters[n]} * {strides[v]}"
                for n, (_, strides) in enumerate(merged)
                if strides[v]
            )
            for v in range(len(views))
        )
        return cls(variables, terms)

    def cells(self, views: Sequence[View]) -> list[str]:
        """C expressions of the tensors' entries.

        Args:
            views: the tensors.
        """
        return [_cell(view, terms) for view, terms in zip(views, self.terms, strict=True)]

    def text(self, body: str) -> str:
        """The loops.

        Args:
            body: what they repeat.
        """
        lines = body.split("\n")
        for name, size in reversed(self.variables):
            head = f"for (int32_t {name} = 0; {name} < {size}; {name}++)"
            if lines[0] == "{":
                lines = [f"{head} {{", *lines[1:]]
            else:
                lines = [head, *(f"    {line}" for line in lines)]
        return "\n".join(lines)


Rule = Callable[[Lowering, Node], Value]
RULES: dict[str, Rule] = {}
"""How operations are lowered, by their names without "aten." and ".default"."""


def lowers(*names: str) -> Callable[[Rule], Rule]:
    """Register how operations are lowered.

    Args:
        names: of the operations.
    """

    def decorate(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return decorate


def arguments(node: Node) -> tuple[Any, ...]:
    """Arguments of an operation by position: nodes, numbers, lists of them.

    Args:
        node: the operation.
    """
    return node.args


def name_of(node: Node) -> str:
    """Name of an operation, as in RULES.

    Args:
        node: the operation.
    """
    name = str(node.target)
    return name.removeprefix("aten.").removesuffix(".default")
