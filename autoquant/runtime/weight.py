"""A weight that stays packed: codes of 1 to 8 bits and scales, decoded only where needed.

Codes that a file stores in 1.6 bits take 2 bits here: kernels shift and mask, they do not divide by
three.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.quantization import native
from autoquant.quantization.bitpacking import packed_bytes
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params, decode
from autoquant.quantization.native import Matrix
from autoquant.runtime.rows import pack_rows, unpack_rows


class ScaledMatrix(NamedTuple):
    """A weight as the kernels read it.

    Attributes:
        matrix: codes [rows, columns] in the kernels' order.
        scale: float32, of each row or of all, [rows, 1] or [1, 1].
    """

    matrix: Matrix
    scale: Tensor

    @property
    def rows(self) -> int:
        return self.matrix.layout.rows

    @property
    def columns(self) -> int:
        return self.matrix.layout.columns

    def values(self) -> Tensor:
        """Decoded [rows, columns]; its quantization parameters are attached."""
        grid = self.matrix.layout.grid
        return decoded(self.matrix.unpacked(), self.scale, grid)


class PackedWeight(nn.Module):
    """Codes [rows, columns] and a scale for each row, or one.

    On the CPU with the compiled kernels, the codes of a factor are in the kernels' order, elsewhere
    row by row; never in both, and never as floats. Copies, pickles and a state_dict have them row
    by row.

    Args:
        codes: int8, inside the grid, [rows, columns].
        scale: [rows, 1] or [1, 1].
        grid: the codes.
        bits: whole bits of a code, 1 to 8.
        gates: how many gates of equal size stand behind one another in the rows, 1 where there are
            none; None for a table whose rows are looked up.

    Attributes:
        zero_rows: whether all codes of a row of a table are 0, by the index of the row; those that
            ``watch`` added.

    Raises:
        UserError: the sizes do not match, or codes lie outside of the grid.
    """

    scale: Tensor
    packed: Tensor | None

    def __init__(
        self, codes: Tensor, scale: Tensor, grid: Grid, bits: int, *, gates: int | None = 1
    ) -> None:
        super().__init__()
        _check(codes, scale, grid, bits, gates or 1)
        self.rows, self.columns = codes.shape
        self.grid = grid
        self.bits = bits
        self.gates = gates
        self.zero_rows: dict[int, bool] = {}
        self._matrix: Matrix | None = None
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.register_buffer("packed", None, persistent=False)
        self._pack(codes)

    def _pack(self, codes: Tensor) -> None:
        """Keep codes in the order that suits the device and the dtype of the scales."""
        if self._kernels_suit():
            self._matrix = native.pack_codes(codes, self.grid, self.bits, self.gates or 1)
            self.packed = None
        else:
            self._matrix, self.packed = None, self._pack_by_rows(codes)
        for row in () if codes.is_meta else self.zero_rows:
            self.zero_rows[row] = not bool(codes[row].any())

    def _kernels_suit(self) -> bool:
        scale = self.scale
        suits = scale.device.type == "cpu" and scale.dtype == torch.float32
        return suits and self.gates is not None and native.available()

    def _pack_by_rows(self, codes: Tensor) -> Tensor:
        return pack_rows((codes.to(torch.int16) - self.grid.qmin).to(torch.uint8), self.bits)

    @property
    def matrix(self) -> Matrix | None:
        """The codes in the kernels' order, where the kernels can use them."""
        return self._matrix

    @property
    def scaled_matrix(self) -> ScaledMatrix | None:
        """The weight as the kernels read it, where they can use it."""
        return None if self._matrix is None else ScaledMatrix(self._matrix, self.scale)

    @property
    def nbytes(self) -> int:
        """Bytes that the weight takes in memory."""
        matrix = self._matrix
        codes = (self.packed,) if matrix is None else (matrix.codes, matrix.sums)
        return sum(tensor.nbytes for tensor in (*codes, self.scale) if tensor is not None)

    def codes(self) -> Tensor:
        """Codes [rows, columns], int8."""
        if self._matrix is not None:
            return self._matrix.unpacked()
        assert self.packed is not None
        return self._unpack_rows(self.packed)

    def _unpack_rows(self, packed: Tensor) -> Tensor:
        unsigned = unpack_rows(packed, self.bits, self.columns)
        return (unsigned.to(torch.int16) + self.grid.qmin).to(torch.int8)

    def values(self) -> Tensor:
        """Decoded [rows, columns], in the scales' dtype; a new tensor at each call.

        Its quantization parameters are attached: kernels compute with it what they compute with the
        fake-quantized weight.
        """
        return decoded(self.codes(), self.scale, self.grid)

    def lookup(self, rows: Tensor) -> Tensor:
        """Decoded rows of a table.

        Args:
            rows: indices [...].

        Returns:
            [..., columns].
        """
        assert self.packed is not None
        codes = self._unpack_rows(F.embedding(rows, self.packed)).to(self.scale.dtype)
        scale = self.scale[0] if self.scale.numel() == 1 else F.embedding(rows, self.scale)
        return decode(codes, scale, self.grid)

    def watch(self, row: int) -> None:
        """Keep in ``zero_rows`` whether all codes of a row of a table are 0.

        Args:
            row: its index.
        """
        assert self.packed is not None
        self.zero_rows[row] = not bool(self._unpack_rows(self.packed[row]).any())

    def _apply(self, fn: Any, recurse: bool = True) -> PackedWeight:
        """See nn.Module: tensors move here, and the codes take the order that suits the new device.

        Args:
            fn: applied to each tensor.
            recurse: whether submodules move too.
        """
        before = self.scale.device, self.scale.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if (self.scale.device, self.scale.dtype) != before:
            self._pack(self.codes().to(self.scale.device))
        return self

    def get_extra_state(self) -> Tensor:
        """The codes row by row, for a state_dict."""
        return self._pack_by_rows(self.codes()) if self.packed is None else self.packed

    def set_extra_state(self, state: Tensor) -> None:
        """Take the codes of a weight of the same shape, bits and grid.

        Args:
            state: what ``get_extra_state`` of that weight returned.

        Raises:
            UserError: it is of another type or shape, or has codes outside of the grid.
        """
        shape = [self.rows, packed_bytes(self.columns, self.bits)]
        if [*state.shape] != shape or state.dtype != torch.uint8:
            came = f"{state.dtype} {[*state.shape]}"
            raise UserError(f"packed codes must be torch.uint8 {shape}, got {came}")
        codes = self._unpack_rows(state.to(self.scale.device))
        _check_codes(codes, self.grid)
        self._pack(codes)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: a matrix holds addresses."""
        buffers = self._buffers | {"packed": self.get_extra_state()}
        return self.__dict__ | {"_matrix": None, "_buffers": buffers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self._kernels_suit():
            self._pack(self.codes())


def decoded(codes: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The values of codes, with their quantization parameters.

    Args:
        codes: int8, [rows, columns].
        scale: [rows, 1] or [1, 1].
        grid: the codes.
    """
    values = decode(codes.to(scale.dtype), scale, grid)
    return attach_quant_params(values, QuantParams(scale.detach(), grid))


def _check(codes: Tensor, scale: Tensor, grid: Grid, bits: int, gates: int) -> None:
    """Raise a UserError unless a weight's parts belong together; all as for PackedWeight.

    Args:
        codes: of the weight.
        scale: its scales.
        grid: its codes.
        bits: of a code.
        gates: 1 where there are none.
    """
    if codes.ndim != 2 or codes.dtype != torch.int8 or not codes.numel() or len(codes) % gates:
        raise UserError(
            f"packed codes must be int8 [rows, columns], with rows for each of {gates} gates, "
            f"got {codes.dtype} {[*codes.shape]}"
        )
    if [*scale.shape] not in ([1, 1], [len(codes), 1]) or not scale.dtype.is_floating_point:
        raise UserError(
            f"scales of packed codes must be [1, 1] or [{len(codes)}, 1], "
            f"got {scale.dtype} {[*scale.shape]}"
        )
    if not (1 <= bits <= 8 and grid.qmax - grid.qmin < 1 << bits):
        raise UserError(f"packed codes must have the bits of their grid, 1 to 8, got {bits}")
    _check_codes(codes, grid)


def _check_codes(codes: Tensor, grid: Grid) -> None:
    """Raise a UserError for codes outside of a grid."""
    lowest, highest = map(int, codes.aminmax())
    if lowest < grid.qmin or highest > grid.qmax:
        raise UserError(
            f"packed codes must be in [{grid.qmin}, {grid.qmax}], got [{lowest}, {highest}]"
        )
