"""A C program that was compiled as a shared library, called with numpy arrays."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError
from autoquant.exports.c.memory import product
from autoquant.exports.c.program import CProgram
from autoquant.exports.ports import Port

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
"""Arguments of the compiler; no products and sums are joined."""
Arrays = list[NDArray[Any]]


def compiled(
    program: CProgram, folder: Path | None = None, flags: Sequence[str] = FLAGS
) -> CModule:
    """Compile a program with the compiler that the variable CC names, else with ``cc``.

    Args:
        program: that was written.
        folder: for the library; None for a temporary one.
        flags: arguments of the compiler.

    Raises:
        UserError: there is no compiler, or it fails.
    """
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        raise UserError(f"a C compiler must be installed, or named by CC, got {command[:1]}")
    temporary = None
    if folder is None:
        temporary = tempfile.TemporaryDirectory()
        folder = Path(temporary.name)
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{program.name}.so"
    ran = subprocess.run(
        [*command, *flags, str(program.source), "-o", str(library), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        lines = ran.stderr.strip().splitlines()
        errors = [line for line in lines if "error" in line]
        first = next(iter([*errors, *lines]), f"exit code {ran.returncode}")
        raise UserError(f"{command[0]} must compile {program.source.name}, got: {first}")
    loaded = ctypes.CDLL(str(library))
    return CModule(program, loaded, temporary)


@dataclass(frozen=True, eq=False)
class CModule:
    """A compiled program.

    Attributes:
        program: what was compiled.
        library: the shared library.
        folder: that is deleted with this object, or None.
    """

    program: CProgram
    library: ctypes.CDLL
    folder: Any = None

    def initial(self) -> Arrays:
        """The states that a sequence starts with."""
        shapes = [_shape(state.port) for state in self.program.states]
        state = np.zeros(sum(map(product, shapes)), np.float32)
        if shapes:
            getattr(self.library, f"{self.program.name}_reset")(_pointer(state))
        ends = np.cumsum([product(shape) for shape in shapes])[:-1]
        parts = np.split(state, ends) if shapes else []
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def run(self, inputs: Sequence[Any], states: Sequence[Any] = ()) -> tuple[Arrays, Arrays]:
        """One pass.

        Args:
            inputs: of the model, in their shapes.
            states: that it starts from, in their shapes; none for the initial ones.

        Returns:
            outputs, and the next states.
        """
        return self._call(None, inputs, states)

    def sequence(self, inputs: Sequence[Any], states: Sequence[Any] = ()) -> tuple[Arrays, Arrays]:
        """Many passes, one after another, of a program with states.

        Args:
            inputs: of all passes, [steps, *shape].
            states: that the first one starts from; none for the initial ones.

        Returns:
            outputs [steps, *shape], and the states after the last pass.
        """
        return self._call(len(inputs[0]), inputs, states)

    def _call(
        self, steps: int | None, inputs: Sequence[Any], states: Sequence[Any]
    ) -> tuple[Arrays, Arrays]:
        """See ``run`` and ``sequence``.

        Args:
            steps: of a sequence, or None.
            inputs: as there.
            states: as there.
        """
        program, lead = self.program, () if steps is None else (steps,)
        arrays = [_array(v, p, lead) for v, p in zip(inputs, program.inputs, strict=True)]
        outputs = [np.zeros((*lead, *_shape(port)), _type(port)) for port in program.outputs]
        given = self.initial() if not len(states) else states
        parts = [_array(v, s.port, ()) for v, s in zip(given, program.states, strict=True)]
        state = np.concatenate([part.reshape(-1) for part in parts] or [np.zeros(0, np.float32)])
        work = np.zeros(program.workspace // 4 + 2, np.int32)
        arguments: list[Any] = [_pointer(state)] if program.states else []
        arguments.append(_pointer(work))
        arguments += [] if steps is None else [ctypes.c_int32(steps)]
        arguments += [_pointer(array) for array in (*arrays, *outputs)]
        function = "run" if steps is None else "sequence"
        getattr(self.library, f"{program.name}_{function}")(*arguments)
        ends = np.cumsum([part.size for part in parts])[:-1]
        following = [
            piece.reshape(part.shape)
            for piece, part in zip(np.split(state, ends), parts, strict=False)
        ]
        return outputs, following if parts else []


def _shape(port: Port) -> tuple[int, ...]:
    return tuple(int(size) for size in port.shape)


def _type(port: Port) -> Any:
    return np.float32 if port.dtype.is_floating_point else np.int32


def _array(values: Any, port: Port, lead: tuple[int, ...]) -> NDArray[Any]:
    """Values as C reads them.

    Args:
        values: array or tensor.
        port: that they are for.
        lead: sizes of axes before those of the port.

    Raises:
        UserError: their shape is another.
    """
    array = np.ascontiguousarray(np.asarray(values), _type(port))
    shape = (*lead, *_shape(port))
    if array.size != product(shape) or (array.shape != shape and array.ndim):
        raise UserError(f"{port.name} must have shape {[*shape]}, got {[*array.shape]}")
    return array


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
