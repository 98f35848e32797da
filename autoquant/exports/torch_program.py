"""The format torch: a program of torch.export whose quantized layers are autoquant's operators."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.errors import UserError, first_line
from autoquant.exports.recording import Recording, Source, dynamic_axes, record
from autoquant.exports.written import Arrays, Request, Written, export_format, floats_of
from autoquant.files import write_bytes
from autoquant.task import Example


@export_format("torch")
def write_torch(request: Request) -> Written:
    """See ``Format.__call__``: NAME.pt2, for ``torch.export.load``."""
    recording = record(request.source)
    program = _program(request.source)
    path = request.folder / f"{request.name}.pt2"
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer, extra_files=dict(request.metadata))
    except Exception as error:
        reason = first_line(error)
        raise UserError(
            f"a model must be one that torch.export.save writes, got {reason}"
        ) from error
    write_bytes(path, buffer.getvalue())
    loaded = torch.export.load(str(path))
    example = _with_state(request.source)
    inputs, keywords = example.inputs, {**example.keywords}
    return Written(
        (path,),
        path.stat().st_size,
        recording,
        _Runner(recording, loaded.module(), *pytree.tree_flatten((inputs, keywords))),
        floats=floats_of(request.source),
        notes=(
            "whoever loads it must import autoquant.runtime first, on a machine with vectors of "
            "the same length",
            *_fixed_sizes(program),
            *_state_note(request.source),
        ),
    )


def _state_note(source: Source) -> list[str]:
    """A line on the argument that takes a state, where the model has one."""
    found = source.state_argument
    return [] if found is None else [f"it is called with {found.name}=STATE, at first of zeros"]


def _fixed_sizes(program: ExportedProgram) -> list[str]:
    """A line that names the sizes of the inputs, where none of them may be another one.

    Args:
        program: of the model.
    """
    signature, nodes = program.graph_signature, {n.name: n for n in program.graph.nodes}
    inputs = {name: nodes[name].meta.get("val") for name in signature.user_inputs if name in nodes}
    shapes = {name: value.shape for name, value in inputs.items() if isinstance(value, Tensor)}
    if not all(str(size).isdigit() for shape in shapes.values() for size in shape):
        return []  # one is a symbol
    listed = ", ".join(f"{name} {[*shape]}" for name, shape in shapes.items())
    return [f"the sizes of its inputs are fixed: {listed}"]


def _program(source: Source) -> ExportedProgram:
    """A model as a program; a state that user code hands back is one of its arguments.

    Args:
        source: the loaded model.

    Raises:
        UserError: torch.export cannot record it.
    """
    example, failure = _with_state(source), None
    inputs, keywords = copy_inputs((example.inputs, {**example.keywords}), None)
    for axes in (2, 1, 0):
        shapes = [
            pytree.tree_map(lambda leaf, axes=axes: dynamic_axes(leaf, axes), each)
            for each in (inputs, keywords)
        ]
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                return torch.export.export(
                    source.model,
                    inputs,
                    keywords,
                    dynamic_shapes=_joined(source, *shapes),
                    strict=False,  # the default since torch 2.7
                )
        except Exception as error:
            failure = failure or error
    assert failure is not None
    reason = first_line(failure)
    raise UserError(f"a model must be one that torch.export records, got {reason}") from failure


def _joined(source: Source, inputs: Any, keywords: Mapping[str, Any]) -> Any:
    """Dynamic axes by the names of arguments.

    Args:
        source: the loaded model.
        inputs: axes of the positional arguments.
        keywords: axes of the others.
    """
    names = [*inspect.signature(source.model.forward).parameters]
    return {**dict(zip(names, inputs, strict=False)), **keywords}


def _with_state(source: Source) -> Example:
    """The example, with the state that the model returns as an argument, where it takes one."""
    argument = source.state_argument
    if argument is None:
        return source.example
    keywords = {**source.example.keywords, argument.name: argument.returned}
    return source.example._replace(keywords=keywords)


@dataclass(frozen=True, eq=False)
class _Runner:
    """Runs a program; see ``Runner``.

    Attributes:
        recording: names inputs, states and outputs.
        module: of the program.
        leaves: of the example that it was recorded with.
        structure: of these.
    """

    recording: Recording
    module: nn.Module
    leaves: list[Any]
    structure: pytree.TreeSpec

    def __call__(self, feeds: Arrays) -> Arrays:
        """See ``Runner.__call__``."""
        rest = iter(torch.from_numpy(np.array(values)) for values in feeds.values())
        values = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        inputs, keywords = pytree.tree_unflatten(values, self.structure)
        with torch.no_grad():
            returned = pytree.tree_leaves(self.module(*inputs, **keywords))
        return dict(zip(self.recording.leaves, map(_array, returned), strict=True))


def _array(leaf: Any) -> NDArray[Any]:
    return leaf.numpy() if isinstance(leaf, Tensor) else np.zeros(0)
