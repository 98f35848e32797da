"""A weight that stays packed: codes of 1 to 8 bits and step sizes, decoded only where needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autoquant import native
from autoquant.coding import Grid
from autoquant.native import Matrix
from autoquant.quantizer import decode
from autoquant.runtime.rows import pack_rows, unpack_rows


class PackedWeight(nn.Module):
    """Codes [rows, columns] and a step size for each row, or one.

    On the CPU with the compiled kernels the codes of a factor lie in the kernels' order, elsewhere
    row by row; never in both, and never as floats.

    Args:
        codes: int8, inside the grid.
        scale: step sizes, [rows, 1] or [1, 1].
        gates: how many gates of equal size stand behind one another in the rows, 1 where there are
            none; None for a table whose rows are looked up.
    """

    scale: Tensor
    packed: Tensor

    def __init__(
        self, codes: Tensor, scale: Tensor, grid: Grid, bits: int, *, gates: int | None = 1
    ) -> None:
        super().__init__()
        self.rows, self.columns = codes.shape
        self.grid = grid
        self.bits = bits
        self.gates = gates
        self._matrix: Matrix | None = None
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("packed", None, persistent=False)
        self._settle(codes)

    def _settle(self, codes: Tensor) -> None:
        """Keep codes in the order that suits where they are."""
        factor = self.gates is not None and codes.device.type == "cpu"
        if factor and self.scale.dtype == torch.float32 and native.available():
            self._matrix = native.pack_codes(codes, self.grid, self.bits, self.gates or 1)
            self.packed = None  # type: ignore[assignment]
            return
        unsigned = (codes.to(torch.int16) - self.grid.low).to(torch.uint8)
        self._matrix, self.packed = None, pack_rows(unsigned, self.bits)

    @property
    def matrix(self) -> Matrix | None:
        """The codes in the kernels' order, where the kernels can use them."""
        return self._matrix

    @property
    def nbytes(self) -> int:
        """Bytes that the weight takes in memory."""
        held = (self.packed,) if self._matrix is None else (self._matrix.codes, self._matrix.sums)
        return sum(each.numel() * each.element_size() for each in (*held, self.scale))

    def codes(self) -> Tensor:
        """Codes [rows, columns], int8."""
        return self._unpacked(self.packed) if self._matrix is None else self._matrix.unpacked()

    def _unpacked(self, packed: Tensor) -> Tensor:
        unsigned = unpack_rows(packed, self.bits, self.columns)
        return (unsigned.to(torch.int16) + self.grid.low).to(torch.int8)

    def values(self) -> Tensor:
        """Decoded [rows, columns], in the step sizes' dtype; a new tensor at each call."""
        return decode(self.codes().to(self.scale.dtype), self.scale, self.grid)

    def lookup(self, rows: Tensor) -> Tensor:
        """Decoded rows of a table by their numbers: [...] -> [..., columns]."""
        codes = self._unpacked(self.packed[rows]).to(self.scale.dtype)
        scale = self.scale if self.scale.numel() == 1 else self.scale[rows]
        return decode(codes, scale.view(-1) if self.scale.numel() == 1 else scale, self.grid)

    def _apply(self, fn: Any, recurse: bool = True) -> PackedWeight:
        """Move: the codes settle again where they arrive."""
        codes = self.codes()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._settle(codes.to(self.scale.device))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: a matrix has addresses in it, so its codes go instead."""
        held = None if self._matrix is None else self._matrix.unpacked()
        return self.__dict__ | {"_matrix": held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self._matrix is not None:
            self._settle(self._matrix)  # type: ignore[arg-type]
