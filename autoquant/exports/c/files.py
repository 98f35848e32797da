"""The format c: NAME.c and NAME.h, which compute one time step, or one whole input."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import environ
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError
from autoquant.exports.c.compiled import CModule, compiled
from autoquant.exports.c.names import identifier
from autoquant.exports.c.writer import write_c
from autoquant.exports.ports import BATCH, TIME, Port
from autoquant.exports.recording import Recording, axes_named, narrowed, record
from autoquant.exports.steps import NoSteps, step_source
from autoquant.exports.target_model import batch_of
from autoquant.exports.written import Arrays, Request, Written, export_format


@export_format("c")
def write_plain_c(request: Request) -> Written:
    """See ``Format.__call__``."""
    whole = record(request.source)
    notes: list[str] = []
    try:
        source, steps = step_source(whole), True
    except NoSteps as reason:
        source, steps = request.source, False
        if source.stacks:
            notes.append(f"no function for single steps: {reason}")
    single = record(narrowed(source, axes_named(whole, BATCH)), dynamic=False)
    program = write_c(single, request.folder, identifier(request.name))
    memory = [
        ("constants (flash)", f"{program.flash:,} bytes"),
        ("states and workspace (RAM)", f"{program.ram:,} bytes"),
    ]
    runner = None
    if _has_compiler():
        runner = _Runner(whole, compiled(program), steps)
    else:
        command = environ.get("CC", "cc")
        notes.append(f"not compiled, compared or scored: there is no C compiler '{command}' (CC)")
    return Written(
        (program.source, program.header),
        program.flash,
        whole,
        runner,
        memory=tuple(memory),
        notes=tuple(notes),
        tables=program.tables,
        step=(single, runner) if steps and runner is not None else None,
    )


def _has_compiler() -> bool:
    command = shlex.split(environ.get("CC", "cc"))
    return bool(command) and shutil.which(command[0]) is not None


@dataclass(frozen=True, eq=False)
class _Runner:
    """Runs a program for each sequence of a batch, and each step of a sequence.

    Attributes:
        recording: of any batch and time.
        module: the compiled program.
        steps: whether it computes one time step.
    """

    recording: Recording
    module: CModule
    steps: bool

    def __call__(self, feeds: Arrays) -> Arrays:
        """See ``Runner.__call__``."""
        rows = [self._row(feeds, row) for row in range(batch_of(self.recording, feeds))]
        results = {
            port.name: _joined(port, [outputs[i] for outputs, _ in rows])
            for i, port in enumerate(self.recording.outputs)
        }
        for i, state in enumerate(self.recording.states):
            results[state.next_name] = _joined(state.port, [states[i] for _, states in rows])
        return results

    def _row(self, feeds: Arrays, row: int) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Outputs and next states of one sequence, with a batch of one.

        Args:
            feeds: of the whole batch.
            row: of the sequence.
        """
        states = [_one(state.port, feeds[state.port.name], row) for state in self.recording.states]
        inputs = {port.name: _one(port, feeds[port.name], row) for port in self.recording.inputs}
        if not self.steps:
            self._check(inputs)
            return self.module.run([*inputs.values()], states)
        outputs, last = self.module.sequence([*self._by_step(inputs)], states)
        ports = zip(self.recording.outputs, outputs, strict=True)
        return [_in_time(port, values) for port, values in ports], last

    def _by_step(self, inputs: Mapping[str, NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Each input as the steps take it, [T, *shape]."""
        ports = self.recording.inputs
        count = max(
            inputs[port.name].shape[port.shape.index(TIME)] for port in ports if TIME in port.shape
        )
        for port in ports:
            values = inputs[port.name]
            if TIME in port.shape:
                axis = port.shape.index(TIME)
                yield np.moveaxis(np.expand_dims(values, axis + 1), axis, 0)
            else:
                yield np.repeat(values[None], count, 0)

    def _check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise a UserError for inputs of another size than the program's."""
        for port in self.module.program.inputs:
            came = inputs[port.name].shape
            if came != port.shape:
                raise UserError(
                    f"{port.name} must be {[*port.shape]} as the C program has it, got {[*came]}"
                )


def _one(port: Port, values: NDArray[Any], row: int) -> NDArray[Any]:
    """One row of a batch, with a batch of one.

    Args:
        port: names the axes.
        values: of the batch.
        row: of the sequence.
    """
    if BATCH not in port.shape:
        return values
    return np.take(values, [row], port.shape.index(BATCH))


def _joined(port: Port, rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Rows of a batch, together.

    Args:
        port: names the axes.
        rows: with a batch of one each.
    """
    return np.concatenate(rows, port.shape.index(BATCH)) if BATCH in port.shape else rows[0]


def _in_time(port: Port, values: NDArray[Any]) -> NDArray[Any]:
    """Outputs of all steps with time where the model has it; the last step's where it has none.

    Args:
        port: names the axes.
        values: [T, *shape].
    """
    if TIME not in port.shape:
        last: NDArray[Any] = values[-1]
        return last
    axis = port.shape.index(TIME)
    return np.moveaxis(values, 0, axis).squeeze(axis + 1)
