"""What the C export wrote: files, ports, and what each layer takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoquant.exports.ports import Port, StatePort
from autoquant.table import Column, Table, Tabular


@dataclass(frozen=True)
class LayerMemory:
    """What a layer takes.

    Attributes:
        name: of the layer.
        operation: what it does.
        bits: of its weights, as in "4"; "" where it has none.
        flash: bytes of its constants.
        ram: bytes of its result and of the memory that only it needs. Layers share memory, so
            that their sum is more than what the program needs.
    """

    name: str
    operation: str
    bits: str
    flash: int
    ram: int


@dataclass(frozen=True)
class CProgram(Tabular):
    """A program in C.

    Attributes:
        name: prefix of its functions.
        source: the ``.c`` file.
        header: the ``.h`` file.
        inputs: of the model, in the order of the arguments.
        states: of its recurrent stacks, in the order in which they lie in ``<name>_state``.
        outputs: of the model, in the order of the arguments.
        layers: what each takes.
        flash: bytes of all constants; the program's own code comes on top.
        state: bytes of ``<name>_state``.
        workspace: bytes of ``<name>_workspace``.
        floats: layers that multiply floats, each with the reason.
    """

    name: str
    source: Path
    header: Path
    inputs: tuple[Port, ...]
    states: tuple[StatePort, ...]
    outputs: tuple[Port, ...]
    layers: tuple[LayerMemory, ...]
    flash: int
    state: int
    workspace: int
    floats: tuple[tuple[str, str], ...]

    @property
    def ram(self) -> int:
        """Bytes of states and workspace; the stack, inputs and outputs come on top."""
        return self.state + self.workspace

    @property
    def tables(self) -> tuple[Table, ...]:
        """The memory of each layer."""
        headings = Column("layer", "left"), Column("operation", "left"), Column("bits")
        rows = [
            (layer.name, layer.operation, layer.bits, f"{layer.flash}", f"{layer.ram}")
            for layer in self.layers
        ]
        total = ("in all", "", "", f"{self.flash}", f"{self.ram}")
        notes = ["RAM of layers overlaps: 'in all' is what the program needs"]
        notes += [f"{name} multiplies floats: {reason}" for name, reason in self.floats]
        title = f"{self.source.name}: bytes of constants (flash) and of variables (RAM)"
        columns = (*headings, Column("flash"), Column("RAM"))
        return (Table(title, columns, (*rows, total), tuple(notes)),)
