"""A recorded model as a C program: two files, without allocation and without global variables."""

from __future__ import annotations

import operator
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram, default_decompositions
from torch.fx import Node

from autoquant.exports.c import convolutions, elementwise, marked, reductions, shapes
from autoquant.exports.c.data import Data
from autoquant.exports.c.library import reserved
from autoquant.exports.c.lowering import RULES, Lowering, Value, name_of
from autoquant.exports.c.memory import Buffer, View, Workspace, dense, place, product
from autoquant.exports.c.names import Names, identifier
from autoquant.exports.c.places import refused
from autoquant.exports.c.program import CProgram, LayerMemory
from autoquant.exports.c.text import Argument, Signature, header_text, source_text
from autoquant.exports.ports import Port
from autoquant.exports.recording import PREFIX, Recording

__all__ = ["write_c"]
_REGISTERED = (convolutions, elementwise, marked, reductions, shapes)
"""Modules whose rules are in RULES once they are imported."""


def write_c(recording: Recording, folder: Path, name: str = "model") -> CProgram:
    """Write a model as ``<name>.c`` and ``<name>.h``.

    Args:
        recording: of fixed sizes (``record(source, dynamic=False)``) and a batch of 1: of one time
            step for streaming, else of one whole input.
        folder: for the files; it is made where there is none.
        name: of the files, and prefix of the functions.

    Raises:
        UserError: the model has an operation that no C code is written for; the message has its
            name, the layer and the line.
    """
    name = identifier(name)
    signature = _signature(recording, name)
    lowering = _lowered(recording, signature)
    _store_outputs(lowering, signature)
    workspace = place(lowering.buffers)
    header, source = folder / f"{name}.h", folder / f"{name}.c"
    folder.mkdir(parents=True, exist_ok=True)
    flash = sum(lowering.data.flash.values())
    header.write_text(header_text(signature, workspace, flash), "utf-8")
    source.write_text(source_text(signature, lowering), "utf-8")
    return _program(lowering, signature, workspace, (source, header))


def _program(
    lowering: Lowering, signature: Signature, workspace: Workspace, files: tuple[Path, Path]
) -> CProgram:
    """The description of what was written.

    Args:
        lowering: the statements.
        signature: of the functions.
        workspace: that they need.
        files: source and header.
    """
    recording = lowering.recording
    flash = dict(lowering.data.flash)
    layers = []
    for cost in lowering.costs.values():
        ram = sum(b.bytes for b in cost.buffers if b.placed and b.last >= 0)
        layers.append(
            LayerMemory(cost.name, cost.operation, cost.bits, flash.pop(cost.name, 0), ram)
        )
    state = sum(4 * argument.size for argument in signature.states)
    return CProgram(
        signature.name,
        *files,
        recording.inputs,
        recording.states,
        recording.outputs,
        tuple(layers),
        sum(lowering.data.flash.values()),
        state,
        workspace.bytes,
        tuple(lowering.floats.items()),
    )


def _signature(recording: Recording, name: str) -> Signature:
    """The arguments of the program's functions.

    Args:
        recording: that is lowered.
        name: of the program.
    """
    names = Names(*reserved())
    inputs = [_argument(names, port) for port in recording.inputs]
    outputs = [_argument(names, port) for port in recording.outputs]
    states = [_argument(names, state.port) for state in recording.states]
    initial = [state.initial for state in recording.states]
    return Signature(name, tuple(inputs), tuple(outputs), tuple(states), tuple(initial))


def _argument(names: Names, port: Port) -> Argument:
    shape = tuple(int(size) for size in port.shape)
    return Argument(names.new(port.name), shape, port.dtype.is_floating_point, port.name)


def _lowered(recording: Recording, signature: Signature) -> Lowering:
    """The statements of a recording.

    Args:
        recording: of fixed sizes.
        signature: names of its ports.
    """
    program = _decomposed(recording.program)
    lowering = Lowering(recording, Data(Names(*reserved())))
    constants = _constants(program)
    lowering.parameters = _parameters(program)
    entries = iter(
        [(a, a.name) for a in signature.inputs]
        + [(a, f"state->{a.name}") for a in signature.states]
    )
    needed = _needed(program)
    for node in program.graph.nodes:
        lowering.node = node
        if node.op == "placeholder":
            if node.name in constants:
                lowering.values[node] = constants[node.name]
            else:
                lowering.values[node] = _entry(*next(entries))
        elif node.op == "output":
            lowering.values[node] = tuple(lowering.view(a) for a in node.args[0])
        elif node in needed:
            lowering.values[node] = _value(lowering, node)
    return lowering


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    """A program of the operators that rules are written for.

    Args:
        program: as it was recorded.
    """
    table: Any = default_decompositions()
    # Some versions of torch, such as 2.6, replace it by an index of two axes.
    table.pop(torch.ops.aten.upsample_nearest2d.vec, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decomposed: ExportedProgram = program.run_decompositions(table)
    return decomposed


def _entry(argument: Argument, name: str) -> View:
    kind = "float" if argument.is_float else "int32_t"
    buffer = Buffer(kind, product(argument.shape), name, placed=False)  # type: ignore[arg-type]
    return View(buffer, argument.shape, dense(argument.shape))


def _needed(program: ExportedProgram) -> set[Node]:
    """The nodes that outputs depend on."""
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    needed: set[Node] = set()
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node not in needed:
                needed.add(node)
                waiting.append(node)
    return needed


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and other constants, by the names of their nodes."""
    signature = program.graph_signature
    states: dict[str, Any] = {**program.state_dict, **program.constants}
    lifted = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {name: states[target].detach() for name, target in lifted.items()}


def _parameters(program: ExportedProgram) -> dict[str, str]:
    signature = program.graph_signature
    lifted = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {name: target.removeprefix(PREFIX) for name, target in lifted.items()}


def _value(lowering: Lowering, node: Node) -> Value:
    """What an operation computes: at export where all its inputs are known, else in C.

    Args:
        lowering: gets its statements.
        node: the operation.
    """
    known = all(isinstance(lowering.values[n], Tensor) for n in node.all_input_nodes)
    is_aten = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    if known and is_aten:
        return _computed(lowering, node)
    name = name_of(node)
    if node.target is operator.getitem:
        name = "getitem"
    rule = RULES.get(name)
    if rule is None:
        raise refused(node, "no C code is written for it")
    return rule(lowering, node)


def _computed(lowering: Lowering, node: Node) -> Value:
    """A constant, which torch computes; see ``_value``."""
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        raise refused(node, "its result is random")

    def known(argument: Node) -> Any:
        return lowering.values[argument]

    args = torch.fx.map_arg(node.args, known)
    kwargs = torch.fx.map_arg(node.kwargs, known)
    assert callable(node.target)
    with torch.no_grad():
        made: Value = node.target(*args, **kwargs)
    return made


def _store_outputs(lowering: Lowering, signature: Signature) -> None:
    """Let results lie in the caller's memory where they can, else copy them there.

    Args:
        lowering: with all statements.
        signature: names of the outputs and states.
    """
    ends = next(v for n, v in lowering.values.items() if n.op == "output")
    assert isinstance(ends, tuple)
    names = [a.name for a in signature.outputs] + [f"state->{a.name}" for a in signature.states]
    for view, name in zip(ends, names, strict=True):
        buffer = view.buffer
        if buffer.name == name and view.offset == 0:  # a state that changed in place
            continue
        in_state = name.startswith("state->")
        if buffer.placed and view.contiguous and view.size == buffer.size and not in_state:
            buffer.placed, buffer.where = False, name
            continue
        target = Buffer(buffer.kind, view.size, name, placed=False)
        lowering.node = next(n for n in lowering.values if n.op == "output")
        lowering.each(View(target, view.shape, dense(view.shape)), [view], "{0}")
