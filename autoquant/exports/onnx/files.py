"""The format onnx: a graph of sequences or batches, and one of single steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoquant.errors import RunError, UserError, first_line
from autoquant.exports.onnx.dialect import RuntimeDialect
from autoquant.exports.onnx.lowering import Lowered, lower
from autoquant.exports.onnx.memory import session_memory
from autoquant.exports.onnx.requirements import require
from autoquant.exports.onnx.session import Session
from autoquant.exports.ports import BATCH
from autoquant.exports.recording import Recording, record
from autoquant.exports.steps import NoSteps, step_source
from autoquant.exports.written import Arrays, Request, Written, export_format, floats_of
from autoquant.files import write_bytes

LEAST = {"speed": 4, "size": 2}
"""Fewest bits of a weight's integers, by what is preferred."""


@export_format("onnx")
def write_onnx(request: Request) -> Written:
    """See ``Format.__call__``: NAME.onnx, and NAME.step.onnx of a recurrent model."""
    require()
    dialect = RuntimeDialect(LEAST[request.prefer])
    recording = record(request.source)
    notes = [*_starts(recording), f"sizes that are free: {', '.join(recording.dynamic) or 'none'}"]
    whole = lower(recording, dialect)
    models = {f"{request.name}.onnx": (recording, _bytes(whole, request.metadata))}
    try:
        single = record(step_source(recording))
        content = _bytes(lower(single, dialect), request.metadata)
        models[f"{request.name}.step.onnx"] = single, content
    except NoSteps as reason:
        if request.source.stacks:
            notes.append(f"no graph of single steps: {reason}")
    sessions = [(each, _opened(content)) for each, content in models.values()]
    for name, (_, content) in models.items():  # once all of them load
        write_bytes(request.folder / name, content)
    files = tuple(request.folder / name for name in models)
    return Written(
        files,
        files[-1].stat().st_size,
        recording,
        sessions[0][1],
        whole.stored,
        _memory(files[-1], sessions[-1][0]),
        floats_of(request.source),
        tuple(notes),
        step=sessions[1] if len(sessions) > 1 else None,
    )


def _starts(recording: Recording) -> list[str]:
    """Notes on states that do not start from zeros."""
    return [
        f"{state.port.name} starts from {np.unique(state.initial)}"
        for state in recording.states
        if state.initial.any()
    ]


def _bytes(lowered: Lowered, metadata: Mapping[str, str]) -> bytes:
    """A checked model, as a file has it.

    Args:
        lowered: the model.
        metadata: texts that it gets.
    """
    from onnx import checker

    for key, value in metadata.items():
        entry = lowered.model.metadata_props.add()
        entry.key, entry.value = key, value
    try:
        checker.check_model(lowered.model)
    except checker.ValidationError as error:
        raise RunError(f"the exported graph must be valid, got {first_line(error)}") from error
    content: bytes = lowered.model.SerializeToString()
    return content


def _opened(content: bytes) -> Session:
    try:
        return Session(content)
    except Exception as error:
        raise UserError(f"the graph must load in ONNX Runtime, got {first_line(error)}") from error


def _memory(path: Path, recording: Recording) -> tuple[tuple[str, str], ...]:
    """Memory of a session, as labels and values.

    Args:
        path: of the model.
        recording: of it.
    """
    measured = session_memory(path, example_feeds(recording, batch=1))
    if measured is None:
        return ()
    mega = {
        "empty session": measured.empty,
        "resident with the model": measured.resident,
        "the same after malloc_trim": measured.trimmed,
        "peak": measured.peak,
    }
    return tuple((label, f"{count / 1e6:.1f} MB") for label, count in mega.items())


def example_feeds(recording: Recording, batch: int | None = None) -> Arrays:
    """The example's inputs, and initial states.

    Args:
        recording: of the model.
        batch: how many sequences or rows; None for those of the example.
    """
    feeds: dict[str, Any] = {}
    example = recording.source.example
    from torch import Tensor
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves((example.inputs, {**example.keywords}))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    rows = 1
    for port, tensor in zip(recording.inputs, tensors, strict=True):
        if BATCH in port.shape:
            axis = port.shape.index(BATCH)
            tensor = tensor if batch is None else tensor.narrow(axis, 0, batch)
            rows = tensor.shape[axis]
        feeds[port.name] = np.ascontiguousarray(tensor.numpy())
    for state in recording.states:
        feeds[state.port.name] = state.start(rows)
    return feeds
