"""A model as one program of torch operators, in which each quantized layer is one operator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError, first_line
from autoquant.exports import probe
from autoquant.exports.layers import Layer, StackLayer
from autoquant.exports.markers import StackCalls, mark
from autoquant.exports.ports import (
    Port,
    StatePort,
    axis_names,
    free_name,
    input_names,
    output_names,
    port_of,
)
from autoquant.exports.recorded_module import RecordedModule
from autoquant.exports.weights import CodedWeight
from autoquant.task import Example

PREFIX = "model."
"""Of the names of parameters in a recorded program."""
_SEQUENCE_AXES = 3
"""Axes of an input at most, where its second one may be time."""


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
    recorded = RecordedModule(model, example, source.stacks, calls)
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


def _described(
    source: Source, recorded: RecordedModule, program: ExportedProgram, inputs: int
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
    names = axis_names(program, entries, inputs)
    ports = [
        port_of(name, value, names)
        for name, value in zip(
            [*input_names(source.model, source.example), *recorded.seen.states],
            entries,
            strict=True,
        )
    ]
    assert recorded.seen.structure is not None
    returned = pytree.tree_unflatten([*recorded.seen.kept], recorded.seen.structure)
    count = len(exits) - len(recorded.seen.states)
    taken = {port.name for port in ports} | {f"{name}_next" for name in recorded.seen.states}
    outputs = [
        port_of(free_name(name, taken), value, names)
        for name, value in zip(output_names(returned, count), exits[:count], strict=True)
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


def narrowed(source: Source, axes: Mapping[str, int]) -> Source:
    """A source whose example has one entry along some axes of its inputs.

    Args:
        source: the model and its example.
        axes: names of inputs with the axis that becomes 1.
    """
    names = iter(input_names(source.model, source.example))

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
