"""Ports: the inputs, outputs and states of a recorded model, and their names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from autoquant.exports.weights import Floats
from autoquant.task import Example

BATCH, TIME = "batch", "time"
"""Names of the axes that may have any size."""


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


def axis_names(program: ExportedProgram, entries: Sequence[Any], inputs: int) -> dict[str, str]:
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


def port_of(name: str, value: Any, names: Mapping[str, str]) -> Port:
    """The port of a recorded tensor.

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


def input_names(model: nn.Module, example: Example) -> list[str]:
    """Names of a model's inputs: those of its arguments.

    Args:
        model: that is called.
        example: what it is called with.
    """
    arguments = [*inspect.signature(model.forward).parameters]
    named = dict(zip(arguments, example.inputs, strict=False))
    named |= {f"input_{i}": value for i, value in enumerate(example.inputs) if i >= len(arguments)}
    named |= example.keywords
    return [*_leaf_names(named)]


def _leaf_names(named: Mapping[str, Any]) -> Iterator[str]:
    for name, value in named.items():
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        yield from [name] if len(tensors) == 1 else [f"{name}_{i}" for i in range(len(tensors))]


def output_names(returned: Any, count: int) -> list[str]:
    """Names of a model's outputs: keys of what it returned, or numbers.

    Args:
        returned: what the model returned, with the number of each output in its place.
        count: of the outputs.
    """
    if count == 1:
        return ["output"]
    names = {}
    for path, index in pytree.tree_flatten_with_path(returned)[0]:
        label = "_".join(map(_step_name, path))
        names[index] = label if label[:1].isalpha() else f"output_{label}"
    return [names.get(i, f"output_{i}") for i in range(count)]


def _step_name(step: Any) -> str:
    """One step of a path through what a model returned: a key, an attribute or a number."""
    kinds = (getattr(step, name, None) for name in ("key", "name", "idx"))
    return str(next((kind for kind in kinds if kind is not None), ""))


def free_name(name: str, taken: set[str]) -> str:
    """A name that no other tensor of the model's interface has.

    Args:
        name: that is wanted.
        taken: names that are in use; gets the one that is returned.
    """
    while name in taken:
        name += "_out"
    taken.add(name)
    return name
