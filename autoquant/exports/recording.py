"""A model as one program of torch operators, in which each quantized layer is one operator."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs, copy_model
from autoquant.errors import UserError, first_line
from autoquant.exports import probe
from autoquant.exports.layers import Layer, StackLayer
from autoquant.exports.markers import StackCalls, mark
from autoquant.exports.weights import CodedWeight, Floats
from autoquant.task import Example

BATCH, TIME = "batch", "time"
"""Names of the axes that may have any size."""
NOTHING = ""
"""In place of the name of an output that is None."""
PREFIX = "model."
"""Of the names of parameters in a recorded program."""
_SEQUENCE_AXES = 3
"""Axes of an input at most, where its second one may be time."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a recorded model.

    Attributes:
        name: of the tensor.
        shape: sizes; the name of an axis that may have any size.
        dtype: of the entries.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class StatePort:
    """A part of a recurrent stack's state, which goes in and comes out.

    Attributes:
        stack: name of the stack.
        part: "h" or "c".
        port: of the state that goes in; the name of the one that comes out ends with ``_next``.
        initial: what a sequence starts with, [L*D, W].
    """

    stack: str
    part: str
    port: Port
    initial: Floats

    def start(self, batch: int) -> Floats:
        """What sequences start with, [L*D, B, W].

        Args:
            batch: how many there are.
        """
        return np.repeat(self.initial[:, None], batch, 1)

    @property
    def next_name(self) -> str:
        """Name of the state that comes out."""
        return f"{self.port.name}_next"


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded model and all that an export reads of it.

    Attributes:
        model: that ``aq.load`` returned, on the CPU.
        layers: that are recorded as one operator, by name.
        weights: coded parameters by their names in the model, for operators that read them as they
            are: convolutions, and user code that reads a layer's weight.
        example: what the model is called with.
    """

    model: nn.Module
    layers: Mapping[str, Layer]
    weights: Mapping[str, CodedWeight]
    example: Example

    @cached_property
    def seen(self) -> probe.Pass:
        """A pass on the example."""
        return probe.run(self.model, self.example)

    @cached_property
    def state_argument(self) -> probe.StateArgument | None:
        """The argument that takes a state which the model returns, where it has one."""
        return probe.state_argument(self.model, self.example, self.seen)

    @property
    def stacks(self) -> tuple[StackLayer, ...]:
        """The recurrent stacks."""
        return tuple(layer for layer in self.layers.values() if isinstance(layer, StackLayer))


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded program and its ports.

    Attributes:
        source: what was recorded.
        program: its operators; its inputs are those of ``inputs``, then of ``states``, its outputs
            those of ``outputs``, then the next states.
        inputs: of the model.
        states: of its recurrent stacks.
        outputs: of the model, without those that are states.
        leaves: for each part of what the model returns, the name of the output or state; an empty
            one for None.
        structure: of what the model returns.
    """

    source: Source
    program: ExportedProgram
    inputs: tuple[Port, ...]
    states: tuple[StatePort, ...]
    outputs: tuple[Port, ...]
    leaves: tuple[str, ...]
    structure: pytree.TreeSpec

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Names of the axes that may have any size."""
        axes = (size for port in self.inputs for size in port.shape if isinstance(size, str))
        return tuple(dict.fromkeys(axes))


def record(source: Source, *, dynamic: bool = True) -> Recording:
    """Record a model.

    Args:
        source: the model and its example.
        dynamic: whether batch and time may have any size, where the model allows it; else all sizes
            are those of the example.

    Raises:
        UserError: torch.export cannot record the model.
    """
    attempts: list[int] = [2, 1, 0] if dynamic else [0]
    failure: Exception | None = None
    for axes in attempts:
        try:
            with _without_logs():
                return _record(source, axes)
        except UserError:
            raise
        except Exception as error:
            failure = failure or error
    assert failure is not None
    name = type(source.model).__name__
    reason = first_line(failure)
    raise UserError(f"a model must be one that torch.export records, got {name}: {reason}")


@contextmanager
def _without_logs() -> Iterator[None]:
    """Keep torch from logging what an attempt to record a model meets."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _record(source: Source, axes: int) -> Recording:
    """See ``record``.

    Args:
        source: as there.
        axes: how many leading axes of an input may have any size.
    """
    example = source.example
    calls, model = StackCalls(), copy_model(source.model)
    mark(model, source.layers, calls)
    recorded = _Recorded(model, example, source.stacks, calls)
    tensors = recorded.example_tensors()
    states = _initial_states(source)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            recorded,
            (tensors, states),
            dynamic_shapes=(
                [dynamic_axes(tensor, axes) for tensor in tensors],
                [_batch_axis(state, axes) for state in states],
            ),
            strict=False,
        )
    return _described(source, recorded, program, len(tensors))


def dynamic_axes(value: Any, count: int) -> dict[int, Any] | None:
    """Which axes of an input may have any size.

    Args:
        value: the input.
        count: how many leading axes, at most.

    Returns:
        None for what is no tensor.
    """
    if not isinstance(value, Tensor):
        return None
    count = count if value.ndim <= _SEQUENCE_AXES else min(count, 1)
    axes = range(min(count, value.ndim))
    return {axis: Dim.AUTO for axis in axes if value.shape[axis] > 1}


def _batch_axis(state: Tensor, count: int) -> dict[int, Any]:
    """The same for a state, whose batch is its second axis."""
    return {1: Dim.AUTO} if count and state.shape[1] > 1 else {}


def _initial_states(source: Source) -> list[Tensor]:
    """The states of all stacks that user code gives none, in order."""
    states = []
    for stack in source.stacks:
        call = source.seen.calls.get(stack.name)
        if call is not None and not call.given:
            parts = [stack.initial_state(part) for part in range(len(stack.parts))]
            states += [torch.from_numpy(part)[:, None].repeat(1, call.batch, 1) for part in parts]
    return states


@dataclass
class _Seen:
    """What a pass returned; beside the module, since torch.export restores its attributes.

    Attributes:
        kept: the index of each returned tensor among the outputs, or the name of the state that it
            is.
        structure: of what the model returned.
        states: names of the states that went in.
    """

    kept: list[int | str] = field(default_factory=list)
    structure: pytree.TreeSpec | None = None
    states: list[str] = field(default_factory=list)


class _Recorded(nn.Module):
    """A marked model with a fixed signature: tensors and states in, tensors and states out.

    Args:
        model: the marked model.
        example: what it is called with.
        stacks: of the model.
        calls: their states.
    """

    def __init__(
        self, model: nn.Module, example: Example, stacks: Sequence[StackLayer], calls: StackCalls
    ) -> None:
        super().__init__()
        self.model = model
        self.calls = calls
        self.stacks = stacks
        inputs = copy_inputs((example.inputs, {**example.keywords}), None)
        self.values, self.spec = pytree.tree_flatten(inputs)
        self.seen = _Seen()

    def example_tensors(self) -> list[Tensor]:
        """The tensors of the example, in order."""
        return [value for value in self.values if isinstance(value, Tensor)]

    def forward(
        self, tensors: list[Tensor], states: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """A pass.

        Args:
            tensors: the inputs.
            states: of the stacks, part by part.
        """
        self._give(states)
        rest, seen = iter(tensors), self.seen
        leaves = [next(rest) if isinstance(value, Tensor) else value for value in self.values]
        inputs, keywords = pytree.tree_unflatten(leaves, self.spec)
        returned, seen.structure = pytree.tree_flatten(self.model(*inputs, **keywords))
        last = {
            f"{name}.{'hc'[i]}_next": part
            for name, parts in self.calls.last.items()
            for i, part in enumerate(parts)
        }
        owners = {id(part): name for name, part in last.items()}
        outputs: list[Tensor] = []
        seen.kept = []
        for leaf in returned:
            if leaf is None:
                seen.kept.append(NOTHING)
                continue
            if not isinstance(leaf, Tensor):
                raise UserError(
                    f"a model must return tensors to be exported, got a {type(leaf).__name__}"
                )
            seen.kept.append(owners.get(id(leaf), len(outputs)))
            outputs += [leaf] if id(leaf) not in owners else []
        missing = [
            name for name in owners.values() if name.removesuffix("_next") not in seen.states
        ]
        kept = [name for name in missing if name in seen.kept]
        outputs += [last[name] for name in kept]  # its state goes in as an input of the model
        first = len(outputs) - len(kept)
        seen.kept = [first + kept.index(str(k)) if k in kept else k for k in seen.kept]
        return outputs, [last[f"{name}_next"] for name in seen.states]

    def _give(self, states: Sequence[Tensor]) -> None:
        """Hand out states to stacks.

        Args:
            states: those of stacks that user code gives none, part by part.
        """
        rest, seen = [*states], self.seen
        seen.states = []
        self.calls.given.clear()
        self.calls.last.clear()
        for stack in self.stacks if rest else ():
            parts = tuple(rest.pop(0) for _ in stack.parts)
            self.calls.given[stack.name] = parts
            seen.states += [f"{stack.name}.{part}" for part in stack.parts]


def _described(
    source: Source, recorded: _Recorded, program: ExportedProgram, inputs: int
) -> Recording:
    """A recording of a program, with names for its ports.

    Args:
        source: what was recorded.
        recorded: the module that was recorded.
        program: what torch.export gave.
        inputs: how many of the program's inputs are the model's.
    """
    signature, nodes = program.graph_signature, {n.name: n for n in program.graph.nodes}
    entries = [nodes[name].meta["val"] for name in signature.user_inputs]
    exits = [nodes[name].meta["val"] for name in signature.user_outputs]
    names = _axis_names(program, entries, inputs)
    ports = [
        _port(name, value, names)
        for name, value in zip([*_input_names(source), *recorded.seen.states], entries, strict=True)
    ]
    assert recorded.seen.structure is not None
    count = len(exits) - len(recorded.seen.states)
    taken = {port.name for port in ports} | {f"{name}_next" for name in recorded.seen.states}
    outputs = [
        _port(_free(name, taken), value, names)
        for name, value in zip(_output_names(recorded, count), exits[:count], strict=True)
    ]
    leaves = tuple(outputs[k].name if isinstance(k, int) else k for k in recorded.seen.kept)
    stacks = {stack.name: stack for stack in source.stacks}
    states = []
    for port in ports[inputs:]:
        stack, _, part = port.name.rpartition(".")
        initial = stacks[stack].initial_state(stacks[stack].parts.index(part))
        states.append(StatePort(stack, part, port, initial))
    return Recording(
        source,
        program,
        tuple(ports[:inputs]),
        tuple(states),
        tuple(outputs),
        leaves,
        recorded.seen.structure,
    )


def _free(name: str, taken: set[str]) -> str:
    """A name that no other tensor of the model's interface has."""
    while name in taken:
        name += "_out"
    taken.add(name)
    return name


def _axis_names(program: ExportedProgram, entries: Sequence[Any], inputs: int) -> dict[str, str]:
    """Names of the sizes that are not fixed, by their symbols.

    Args:
        program: that was recorded.
        entries: its inputs, with symbolic sizes.
        inputs: how many of them are the model's.
    """
    names: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.target == torch.ops.autoquant_export.stack.default:
            steps, batch = node.args[0].meta["val"].shape[:2]
            names.setdefault(str(batch), BATCH)
            names.setdefault(str(steps), TIME)
    names = {symbol: name for symbol, name in names.items() if not symbol.isdigit()}
    for value in entries[:inputs]:
        for axis, size in enumerate(value.shape):
            if not str(size).isdigit():
                taken = BATCH in names.values()
                fallback = f"axis{axis}" if axis or taken else BATCH
                names.setdefault(str(size), fallback)
    return names


def _port(name: str, value: Any, names: Mapping[str, str]) -> Port:
    """A port.

    Args:
        name: of the tensor.
        value: the tensor, with symbolic sizes.
        names: of the symbols.
    """
    return Port(name, tuple(_size(size, names) for size in value.shape), value.dtype)


def _size(size: Any, names: Mapping[str, str]) -> int | str:
    text = str(size)
    if text.isdigit():
        return int(text)
    for symbol, name in names.items():
        text = text.replace(symbol, name)
    return text


def _input_names(source: Source) -> list[str]:
    """Names of the model's inputs: those of its arguments."""
    arguments = [*inspect.signature(source.model.forward).parameters]
    named = dict(zip(arguments, source.example.inputs, strict=False))
    named |= {
        f"input_{i}": value for i, value in enumerate(source.example.inputs) if i >= len(arguments)
    }
    named |= source.example.keywords
    return [*_leaf_names(named)]


def _leaf_names(named: Mapping[str, Any]) -> Iterator[str]:
    for name, value in named.items():
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        yield from [name] if len(tensors) == 1 else [f"{name}_{i}" for i in range(len(tensors))]


def _output_names(recorded: _Recorded, count: int) -> list[str]:
    """Names of the model's outputs: keys of what it returned, or numbers."""
    if count == 1:
        return ["output"]
    assert recorded.seen.structure is not None
    tree = pytree.tree_unflatten([*recorded.seen.kept], recorded.seen.structure)
    names = {}
    for path, index in pytree.tree_flatten_with_path(tree)[0]:
        label = "_".join(map(_step_name, path))
        names[index] = label if label[:1].isalpha() else f"output_{label}"
    return [names.get(i, f"output_{i}") for i in range(count)]


def _step_name(step: Any) -> str:
    """One step of a path through what a model returned: a key, an attribute or a number."""
    kinds = (getattr(step, name, None) for name in ("key", "name", "idx"))
    return str(next((kind for kind in kinds if kind is not None), ""))


def narrowed(source: Source, axes: Mapping[str, int]) -> Source:
    """A source whose example has one entry along some axes of its inputs.

    Args:
        source: the model and its example.
        axes: names of inputs with the axis that becomes 1.
    """
    names = iter(_input_names(source))

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        axis = axes.get(next(names))
        return value if axis is None else value.narrow(axis, 0, 1).contiguous()

    inputs, keywords = pytree.tree_map(one, (source.example.inputs, {**source.example.keywords}))
    return replace(source, example=source.example._replace(inputs=inputs, keywords=keywords))


def axes_named(recording: Recording, name: str) -> dict[str, int]:
    """The axis of each input that has a name.

    Args:
        recording: of any size.
        name: BATCH or TIME.
    """
    return {port.name: port.shape.index(name) for port in recording.inputs if name in port.shape}
