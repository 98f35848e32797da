"""Integer codes of a weight, in the order in which the kernels read them (see matrix.h)."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.quantization.codes import Grid, QuantParams
from autoquant.quantization.native.library import address, function, instruction_set, pointer
from autoquant.quantization.native.tracing import untraced

Pointer = ctypes.c_void_p
Int = ctypes.c_int32
CHUNK = 8  # groups of four columns in a chunk of bit-planes


class MatrixStruct(ctypes.Structure):
    """matrix.h: matrix."""

    _fields_ = [
        ("rows", Int),
        ("columns", Int),
        ("gates", Int),
        ("gate_stride", Int),
        ("block_stride", Int),
        ("blocks", Int),
        ("bits", Int),
        ("low", Int),
        ("max_code", Int),
        ("offset", ctypes.c_float),
        ("codes", Pointer),
        ("sums", Pointer),
    ]


class _Source(ctypes.Structure):
    """pack.h: source."""

    _fields_ = [
        ("values", Pointer),
        ("codes", Pointer),
        ("scales", Pointer),
        ("per_row", Int),
        ("high", Int),
        ("row", Pointer),
        ("panel", Pointer),
    ]


class MatrixLayout(NamedTuple):
    """Where the codes of a matrix lie in memory: all about it that is not a tensor, in numbers.

    Attributes:
        rows: of the weight, N.
        columns: of the weight, K.
        gates: how many gates of equal size are one after another in the rows (2 to 4), or 1.
        bits: of a stored code, 1 to 8.
        qmin: the smallest code.
        qmax: the largest code.
        midrise: 1 where the grid's offset is 1/2, else 0.
        lanes: units in a vector of the instruction set.
    """

    rows: int
    columns: int
    gates: int
    bits: int
    qmin: int
    qmax: int
    midrise: int
    lanes: int

    @property
    def grid(self) -> Grid:
        """The codes."""
        return Grid(self.qmin, self.qmax, self.midrise / 2)

    @property
    def panels(self) -> int:
        """Gates of a block; four vectors of units take their place where there are none."""
        return self.gates if self.gates > 1 else 4

    @property
    def blocks(self) -> int:
        """Blocks of ``panels`` vectors of units."""
        units = self.rows // self.gates if self.gates > 1 else math.ceil(self.rows / 4)
        return math.ceil(units / self.lanes)

    @property
    def sums(self) -> int:
        """Entries of the tensor of sums."""
        return self.blocks * self.panels * self.lanes

    def checked(self) -> MatrixLayout:
        """The same, if the kernels can read a matrix like this on this machine.

        Raises:
            UserError: they cannot.
        """
        sizes = 0 < min(self.rows, self.columns) <= max(self.rows, self.columns) < 1 << 31
        if not (sizes and 1 <= self.gates <= 4 and self.rows % self.gates == 0):
            raise UserError(
                "a packed weight must have rows for each of its gates (1 to 4) and columns, "
                f"got {[self.rows, self.columns]} and {self.gates} gates"
            )
        if not (-128 <= self.qmin <= self.qmax <= 127 and 1 <= self.bits <= 8):
            raise UserError(
                "packed codes must have 1 to 8 bits and lie in [-128, 127], "
                f"got {self.bits} bits for [{self.qmin}, {self.qmax}]"
            )
        if self.qmax - self.qmin >> self.bits:
            raise UserError(
                f"codes in [{self.qmin}, {self.qmax}] must have enough bits, got {self.bits}"
            )
        if self.lanes != lanes():
            raise UserError(
                f"codes must be in the order of this machine's kernels ({lanes()} lanes), got "
                f"{self.lanes}: load the packed file on this machine, and trace or export it here"
            )
        return self


@dataclass(frozen=True)
class Matrix:
    """Codes of a weight [rows, columns] in kernel order.

    Attributes:
        layout: its sizes.
        struct: what the kernels get; it has the addresses of the tensors.
        codes: uint8, the codes in ``layout.bits`` bits each, rows and columns padded.
        sums: int32, the sum of each row's codes.
        finite: whether no value was NaN; else the codes mean nothing.
    """

    layout: MatrixLayout
    struct: MatrixStruct
    codes: Tensor
    sums: Tensor
    finite: bool = True

    @classmethod
    def of(cls, layout: MatrixLayout, codes: Tensor, sums: Tensor) -> Matrix:
        """A matrix whose codes are in kernel order already.

        Args:
            layout: its sizes.
            codes: what ``Matrix.codes`` of such a matrix was.
            sums: what its ``sums`` were.

        Raises:
            UserError: sizes and tensors do not match, or are those of another machine.
        """
        template, code_bytes = _template(layout)
        struct = MatrixStruct.from_buffer_copy(template)
        struct.codes = address(codes, torch.uint8, code_bytes)
        struct.sums = address(sums, torch.int32, layout.sums)
        return cls(layout, struct, codes, sums)

    @property
    def address(self) -> Any:
        return ctypes.addressof(self.struct)

    def unpacked(self) -> Tensor:
        """The codes [rows, columns] again, int8."""
        layout = self.layout
        gates, blocks, width = layout.panels, layout.blocks, layout.lanes
        if layout.bits == 8:
            codes = self.codes.to(torch.int8)  # the same bits: torch.jit knows no view as a type
        else:
            planes = self.codes.view(blocks, -1, layout.bits, gates * width * 4)
            codes = _from_planes(planes).to(torch.int8) + layout.qmin
        codes = codes.view(blocks, -1, gates, width, 4)
        has_gates = layout.gates > 1
        order = (2, 0, 3, 1, 4) if has_gates else (0, 2, 3, 1, 4)
        # [gates, blocks, V, K], or [blocks, 4, V, K] where there are no gates
        units = codes.permute(order).flatten(3)[..., : layout.columns]
        if has_gates:
            units = units.flatten(1, 2)[:, : layout.rows // gates]
        return units.reshape(-1, layout.columns)[: layout.rows].contiguous()


@untraced
def pack_values(values: Tensor, params: QuantParams, gates: int = 1) -> Matrix:
    """A fake-quantized weight as int8 codes.

    Args:
        values: [rows, columns].
        params: their grid, and the scale of each row, or one.
        gates: how many gates of equal size are one after another in the rows (2 to 4), or 1.
    """
    values = values.detach().contiguous()
    scales = params.scale.detach().float().reshape(-1).contiguous()
    layout, struct, codes, sums = _empty(values, params.grid, 8, gates)
    rows, columns = values.shape
    row = torch.empty(columns + 64, dtype=torch.int8, device="cpu")
    per_row = scales.numel() > 1
    source = _Source(
        address(values, torch.float32, rows * columns),
        None,
        address(scales, torch.float32, rows if per_row else 1),
        int(per_row),
        params.grid.qmax,
        row.data_ptr(),
        None,
    )
    has_nan = function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(layout, struct, codes, sums, finite=not has_nan)


@untraced
def pack_codes(codes: Tensor, grid: Grid, bits: int, gates: int = 1) -> Matrix:
    """Codes in a given number of bits.

    Args:
        codes: [rows, columns], int8 and inside the grid.
        grid: the codes.
        bits: of each code, 1 to 8.
        gates: as in ``pack_values``.
    """
    codes = codes.contiguous()
    layout, struct, packed, sums = _empty(codes, grid, bits, gates)
    rows, columns = codes.shape
    row = torch.empty(columns + 64, dtype=torch.int8, device="cpu")
    panel = torch.empty((columns + 64) * 4 * layout.lanes, dtype=torch.int8, device="cpu")
    source = _Source(
        None,
        address(codes, torch.int8, rows * columns),
        None,
        0,
        grid.qmax,
        row.data_ptr(),
        panel.data_ptr(),
    )
    function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(layout, struct, packed, sums)


def _from_planes(planes: Tensor) -> Tensor:
    """Bit-planes [blocks, chunks, bits, X] -> unsigned codes [blocks, chunks, 8, X] (matrix.h)."""
    codes = planes.new_zeros(*planes.shape[:2], CHUNK, planes.shape[3])
    bits, first, shift = planes.shape[2], 0, 0
    for width in (4, 2, 1):
        if not bits & width:
            continue
        plane = planes[:, :, first : first + width]
        parts = [plane >> width * i & (1 << width) - 1 for i in range(8 // width)]
        codes |= torch.stack(parts, 3).flatten(2, 3) << shift
        first, shift = first + width, shift + width
    return codes


def lanes() -> int:
    """Units in a vector of the instruction set."""
    return _lanes_of(instruction_set())


@cache
def _lanes_of(instructions: str) -> int:
    return int(function("lanes")())


@lru_cache(maxsize=256)
def _template(layout: MatrixLayout) -> tuple[MatrixStruct, int]:
    """What the kernels get, without addresses, and the bytes of all codes; it must not be changed.

    Args:
        layout: the sizes.

    Raises:
        UserError: as ``MatrixLayout.checked``.
    """
    layout.checked()
    rows, width, grid = layout.rows, layout.lanes, layout.grid
    has_gates = layout.gates > 1
    struct = MatrixStruct(rows, layout.columns, layout.panels)
    struct.gate_stride = rows // layout.gates if has_gates else width
    struct.block_stride = width if has_gates else 4 * width
    struct.blocks, struct.bits, struct.low = layout.blocks, layout.bits, grid.qmin
    struct.max_code, struct.offset = max(-grid.qmin, grid.qmax), grid.offset
    return struct, int(function("packed_size", ctypes.c_int64)(ctypes.byref(struct)))


def _empty(
    like: Tensor, grid: Grid, bits: int, gates: int
) -> tuple[MatrixLayout, MatrixStruct, Tensor, Tensor]:
    """The parts of a matrix with uninitialized codes and sums.

    Args:
        like: a tensor [rows, columns].
        grid: the codes.
        bits: of each code.
        gates: as in ``pack_values``.
    """
    numbers = *like.shape, gates, bits, grid.qmin, grid.qmax, int(grid.offset != 0), lanes()
    layout = MatrixLayout(*numbers)
    template, code_bytes = _template(layout)
    struct = MatrixStruct.from_buffer_copy(template)
    codes = torch.empty(code_bytes, dtype=torch.uint8, device="cpu")
    sums = torch.empty(layout.sums, dtype=torch.int32, device="cpu")
    struct.codes, struct.sums = codes.data_ptr(), sums.data_ptr()
    return layout, struct, codes, sums


@untraced
def encode(values: Tensor, scale: float, grid: Grid, stride: int) -> tuple[Tensor, Tensor, bool]:
    """Activations as unsigned codes, code - qmin.

    Args:
        values: [rows, columns], contiguous float32.
        scale: of all values.
        grid: the codes; its offset is 0.
        stride: bytes of a row of codes.

    Returns:
        codes [rows, stride] with zeros at the end, sums of the rows' codes [rows], and whether no
        value is NaN.
    """
    rows, columns = values.shape
    if stride < columns or stride % (4 * CHUNK):
        raise UserError(f"the stride of {columns} codes must be whole chunks, got {stride}")
    codes = torch.empty(rows, stride, dtype=torch.uint8, device="cpu")
    sums = torch.empty(rows, dtype=torch.int32, device="cpu")
    has_nan = function("encode")(
        pointer(values, torch.float32, rows * columns),
        ctypes.c_int64(rows),
        columns,
        ctypes.c_float(scale),
        grid.qmin,
        grid.qmax,
        ctypes.c_void_p(codes.data_ptr()),
        ctypes.c_int64(stride),
        ctypes.c_void_p(sums.data_ptr()),
    )
    return codes, sums, not has_nan
