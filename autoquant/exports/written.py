"""What an export needs, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from autoquant.exports.recording import Recording, Source
from autoquant.exports.stored import Stored
from autoquant.plugins import ExtensionNames
from autoquant.table import Table

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by the names of ports."""


@dataclass(frozen=True, eq=False)
class Request:
    """What is exported, and where to.

    Attributes:
        source: the loaded model.
        folder: that the files go to; it exists.
        name: that their names begin with.
        prefer: "speed", or "size": a smaller file that may run slower.
        metadata: texts that describe the model, for formats that hold such.
    """

    source: Source
    folder: Path
    name: str
    prefer: str
    metadata: Mapping[str, str]


class Runner(Protocol):
    """Runs an exported model in its target."""

    def __call__(self, feeds: Arrays, /) -> Arrays:
        """Outputs and next states, by name.

        Args:
            feeds: inputs and states, by name; batch and time as the recording allows.
        """
        ...


@dataclass(frozen=True, eq=False)
class Written:
    """An export.

    Attributes:
        files: that were written, the model's main file first.
        bytes: of the model in this format.
        recording: that the runner's names and sizes are those of.
        runner: runs the files; None where they cannot be run here, which a note then says.
        stored: what they hold of each weight.
        step: recording and runner of a single time step, where the format has one.
        memory: labels and values, such as ("resident", "17.2 MB").
        floats: what stayed in float, with the reason.
        notes: more that the user must know, a line each.
        tables: more that is printed.
    """

    files: tuple[Path, ...]
    bytes: int
    recording: Recording
    runner: Runner | None
    stored: tuple[Stored, ...] = ()
    memory: tuple[tuple[str, str], ...] = ()
    floats: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    step: tuple[Recording, Runner] | None = None


class Format(Protocol):
    """Writes a model in a format of another tool. Called once for each export."""

    def __call__(self, request: Request, /) -> Written:
        """Write the files.

        Args:
            request: the model and the folder.

        Raises:
            UserError: the format cannot hold the model; nothing may be left half-written then.
        """
        ...


FORMATS: dict[str, Format] = {}
FORMAT_NAMES = ExtensionNames([])
"""Values of ``format``."""
PREFERENCES = ("speed", "size")
"""Values of ``prefer``."""


def export_format(name: str) -> Callable[[Format], Format]:
    """Register a function that writes a format, as a value of ``format``.

    Args:
        name: the value.

    Returns:
        a decorator of a ``Format``.
    """

    def register(function: Format) -> Format:
        FORMATS[name] = function
        FORMAT_NAMES.register(name)
        return function

    return register


def floats_of(source: Source) -> tuple[tuple[str, str], ...]:
    """The layers whose weights a plan keeps in float, with the reason.

    Args:
        source: the loaded model.
    """
    from autoquant.exports.layers import named_weights
    from autoquant.exports.weights import FloatWeight

    return tuple(
        (name, f"{weight.bits} bits in the plan")
        for name, weight in named_weights(source.layers.values())
        if isinstance(weight, FloatWeight)
    )
