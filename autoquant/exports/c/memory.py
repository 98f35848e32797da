"""Intermediate values of an exported program, and where they lie in its workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Kind = Literal["float", "int32_t", "int8_t"]
BYTES: dict[Kind, int] = {"float": 4, "int32_t": 4, "int8_t": 1}
PARTS: dict[Kind, str] = {"float": "values", "int32_t": "numbers", "int8_t": "codes"}
"""Members of the workspace; each has one type, so that no memory is read as another."""


@dataclass(eq=False)
class Buffer:
    """Numbers that lie one after another.

    Attributes:
        kind: their C type; truth values are int32_t.
        size: how many.
        name: in C.
        placed: whether it lies in the workspace, and not in an argument or in flash.
        where: the argument that it lies in instead, which ``name`` then points to.
        first: the statement that writes it first; -1 before there is one.
        last: the statement that reads it last.
        offset: in its part of the workspace.
        over: the buffer that it may be written over, entry by entry, if nothing reads that later.
    """

    kind: Kind
    size: int
    name: str
    placed: bool = True
    where: str = ""
    first: int = -1
    last: int = -1
    offset: int = 0
    over: Buffer | None = None

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return self.size * BYTES[self.kind]


@dataclass(frozen=True, eq=False)
class View:
    """A tensor in a buffer.

    Attributes:
        buffer: that holds it.
        shape: sizes of the axes.
        strides: entries from one to the next along each axis.
        offset: of its first entry.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of entries."""
        return product(self.shape)

    @property
    def pointer(self) -> str:
        """C expression of the address of its first entry."""
        return f"{self.buffer.name} + {self.offset}" if self.offset else self.buffer.name

    @property
    def contiguous(self) -> bool:
        """Whether its entries lie one after another."""
        return all(
            size == 1 or stride == expected
            for size, stride, expected in zip(
                self.shape, self.strides, dense(self.shape), strict=True
            )
        )

    def through(self, operation: Any, *arguments: Any, **keywords: Any) -> Any:
        """What a view operation of torch makes of it: views of the same buffer.

        Args:
            operation: of torch.
            arguments: after the tensor.
            keywords: of the operation.
        """
        tensor = torch.empty_strided(self.shape, self.strides, device="meta")
        made = operation(tensor, *arguments, **keywords)
        if isinstance(made, torch.Tensor):
            return self._like(made)
        return tuple(self._like(part) for part in made)

    def _like(self, made: torch.Tensor) -> View:
        offset = self.offset + int(made.storage_offset())
        return View(self.buffer, tuple(made.shape), tuple(made.stride()), offset)


def product(sizes: Sequence[int]) -> int:
    """The product of sizes.

    Args:
        sizes: of axes.
    """
    count = 1
    for size in sizes:
        count *= size
    return count


def dense(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of entries that lie one after another.

    Args:
        shape: sizes of the axes.
    """
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass
class Workspace:
    """The memory that a pass needs beside states.

    Attributes:
        sizes: entries of each part.
    """

    sizes: dict[Kind, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(BYTES[kind] * size for kind, size in self.sizes.items())


def place(buffers: Sequence[Buffer]) -> Workspace:
    """Give each buffer a place; buffers that are not in use at the same time may share it.

    Args:
        buffers: with their first and last statements; those that are placed get an offset.
    """
    workspace, roots = Workspace(), _merged(buffers)
    for kind in BYTES:
        done: list[Buffer] = []
        mine = {root for root in roots.values() if root.kind == kind and root.size}
        for buffer in sorted(mine, key=lambda b: (-b.size, b.first, b.name)):
            buffer.offset = _free(buffer, done)
            done.append(buffer)
        if done:
            workspace.sizes[kind] = max(b.offset + b.size for b in done)
    for buffer, root in roots.items():
        buffer.offset = root.offset
    return workspace


def _merged(buffers: Sequence[Buffer]) -> dict[Buffer, Buffer]:
    """For each buffer of the workspace the one in whose place it lies: itself, or what it is over.

    Args:
        buffers: in the order of their statements; one that is written over lives on.
    """
    roots: dict[Buffer, Buffer] = {}
    for buffer in buffers:
        if not buffer.placed or buffer.first < 0:
            continue
        roots[buffer] = buffer
        root = roots.get(buffer.over) if buffer.over is not None else None
        if root is not None and root.last == buffer.first:
            roots[buffer] = root
            root.last = buffer.last
    return roots


def _free(buffer: Buffer, others: Sequence[Buffer]) -> int:
    """The first offset where a buffer meets none that is in use with it."""
    rivals = [b for b in others if b.first <= buffer.last and buffer.first <= b.last]
    offset = 0
    for rival in sorted(rivals, key=lambda b: b.offset):
        if rival.offset >= offset + buffer.size:
            break
        offset = max(offset, rival.offset + rival.size)
    return offset
