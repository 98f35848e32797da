"""Integer codes of a weight, in the order in which the kernels read them (see matrix.h)."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoquant.quantization.codes import Grid, QuantParams
from autoquant.quantization.native.library import function, pointer

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


@dataclass(frozen=True)
class Matrix:
    """Codes of a weight [rows, columns] in kernel order.

    Attributes:
        struct: what the kernels get; it has the addresses of the tensors.
        codes: uint8, the codes in ``struct.bits`` bits each, rows and columns padded.
        sums: int32, the sum of each row's codes.
        finite: whether no value was NaN; else the codes mean nothing.
    """

    struct: MatrixStruct
    codes: Tensor
    sums: Tensor
    finite: bool = True

    @property
    def address(self) -> Any:
        return ctypes.addressof(self.struct)

    def unpacked(self) -> Tensor:
        """The codes [rows, columns] again, int8."""
        struct, width = self.struct, lanes()
        if struct.bits == 8:
            codes = self.codes.view(torch.int8)
        else:
            planes = self.codes.view(struct.blocks, -1, struct.bits, struct.gates * width * 4)
            codes = _from_planes(planes).view(torch.int8) + struct.low
        codes = codes.view(struct.blocks, -1, struct.gates, width, 4)
        has_gates = struct.block_stride == width
        order = (2, 0, 3, 1, 4) if has_gates else (0, 2, 3, 1, 4)
        # [gates, blocks, V, K], or [blocks, 4, V, K] where there are no gates
        units = codes.permute(order).flatten(3)[..., : struct.columns]
        if has_gates:
            units = units.flatten(1, 2)[:, : struct.gate_stride]
        return units.reshape(-1, struct.columns)[: struct.rows].contiguous()


def pack_values(values: Tensor, params: QuantParams, gates: int = 1) -> Matrix:
    """A fake-quantized weight as int8 codes.

    Args:
        values: [rows, columns].
        params: their grid, and the scale of each row, or one.
        gates: how many gates of equal size are one after another in the rows (3 or 4), or 1.
    """
    values = values.detach().contiguous()
    scales = params.scale.detach().float().reshape(-1).contiguous()
    struct, codes, sums = _empty(values, params.grid, 8, gates)
    row = torch.empty(values.shape[1] + 64, dtype=torch.int8)
    source = _Source(
        pointer(values),
        None,
        pointer(scales),
        int(scales.numel() > 1),
        params.grid.qmax,
        pointer(row),
        None,
    )
    has_nan = function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(struct, codes, sums, finite=not has_nan)


def pack_codes(codes: Tensor, grid: Grid, bits: int, gates: int = 1) -> Matrix:
    """Codes in a given number of bits.

    Args:
        codes: [rows, columns], int8 and inside the grid.
        grid: the codes.
        bits: of each code, 1 to 8.
        gates: as in ``pack_values``.
    """
    codes = codes.contiguous()
    struct, packed, sums = _empty(codes, grid, bits, gates)
    columns = codes.shape[1] + 64
    row = torch.empty(columns, dtype=torch.int8)
    panel = torch.empty(columns * 4 * lanes(), dtype=torch.int8)
    source = _Source(None, pointer(codes), None, 0, grid.qmax, pointer(row), pointer(panel))
    function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(struct, packed, sums)


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
    return int(function("lanes")())


def _empty(like: Tensor, grid: Grid, bits: int, gates: int) -> tuple[MatrixStruct, Tensor, Tensor]:
    """A structure with uninitialized codes and sums.

    Args:
        like: a tensor [rows, columns].
        grid: the codes.
        bits: of each code.
        gates: as in ``pack_values``.
    """
    (rows, columns), width = like.shape, lanes()
    if gates == 1:  # four vectors of units take the place of gates
        gates, gate_stride, block_stride, blocks = 4, width, 4 * width, math.ceil(rows / 4 / width)
    else:
        gate_stride, block_stride, blocks = rows // gates, width, math.ceil(rows / gates / width)
    struct = MatrixStruct(rows, columns, gates, gate_stride, block_stride, blocks, bits, grid.qmin)
    struct.max_code = max(-grid.qmin, grid.qmax)
    struct.offset = grid.offset
    size = function("packed_size", ctypes.c_int64)(ctypes.byref(struct))
    codes = torch.empty(size, dtype=torch.uint8)
    sums = torch.empty(blocks * gates * width, dtype=torch.int32)
    struct.codes, struct.sums = codes.data_ptr(), sums.data_ptr()
    return struct, codes, sums


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
    codes = torch.empty(rows, stride, dtype=torch.uint8)
    sums = torch.empty(rows, dtype=torch.int32)
    has_nan = function("encode")(
        pointer(values),
        ctypes.c_int64(rows),
        columns,
        ctypes.c_float(scale),
        grid.qmin,
        grid.qmax,
        pointer(codes),
        ctypes.c_int64(stride),
        pointer(sums),
    )
    return codes, sums, not has_nan
