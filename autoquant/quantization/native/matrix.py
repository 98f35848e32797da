"""Integer codes of a weight in the order in which the kernels read them (see matrix.h)."""

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
        ("reach", Int),
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
        ("scales_each", Int),
        ("high", Int),
        ("row", Pointer),
        ("panel", Pointer),
    ]


@dataclass(frozen=True)
class Matrix:
    """Codes of a weight [rows, columns] in kernel order.

    Attributes:
        struct: what the kernels get; points into the tensors.
        codes: uint8, the codes in ``struct.bits`` bits each, rows and columns padded.
        sums: int32, the sum of each row's codes.
        finite: whether no value was NaN.
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
        shape = (struct.blocks, -1, struct.gates, width, 4)
        if struct.bits == 8:
            codes = self.codes.view(torch.int8).view(shape)
        else:
            codes = _planes(
                self.codes.view(struct.blocks, -1, struct.bits, struct.gates * width * 4)
            )
            codes = (codes.view(torch.int8) + struct.low).view(shape)
        units = (
            codes.permute(2, 0, 3, 1, 4)
            if struct.block_stride == width
            else codes.permute(0, 2, 3, 1, 4)
        )
        units = units.flatten(3)[
            ..., : struct.columns
        ]  # [gates, blocks, V, K] or [blocks, 4, V, K]
        if struct.block_stride == width:
            units = units.flatten(1, 2)[:, : struct.gate_stride]
        return units.reshape(-1, struct.columns)[: struct.rows].contiguous()


def pack_values(values: Tensor, coding: QuantParams, gates: int = 1) -> Matrix:
    """A fake-quantized weight [rows, columns] as int8 codes.

    Args:
        coding: the grid of the values and the step size of each row, or one.
        gates: 1, or how many gates of equal size stand behind one another (3 or 4).
    """
    values = values.detach().contiguous()
    scales = coding.scale.detach().float().reshape(-1).contiguous()
    struct, codes, sums = _empty(values, coding.grid, 8, gates)
    row = torch.empty(values.shape[1] + 64, dtype=torch.int8)
    source = _Source(
        pointer(values),
        None,
        pointer(scales),
        int(scales.numel() > 1),
        coding.grid.qmax,
        pointer(row),
        None,
    )
    odd = function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(struct, codes, sums, finite=not odd)


def pack_codes(codes: Tensor, grid: Grid, bits: int, gates: int = 1) -> Matrix:
    """Codes [rows, columns], int8 and inside the grid, kept in ``bits`` bits each."""
    codes = codes.contiguous()
    struct, packed, sums = _empty(codes, grid, bits, gates)
    columns = codes.shape[1] + 64
    row = torch.empty(columns, dtype=torch.int8)
    panel = torch.empty(columns * 4 * lanes(), dtype=torch.int8)
    source = _Source(None, pointer(codes), None, 0, grid.qmax, pointer(row), pointer(panel))
    function("pack")(ctypes.byref(struct), ctypes.byref(source))
    return Matrix(struct, packed, sums)


def _planes(held: Tensor) -> Tensor:
    """Bit-planes [blocks, chunks, bits, X] -> unsigned codes [blocks, chunks, 8, X] (matrix.h)."""
    codes = held.new_zeros(*held.shape[:2], CHUNK, held.shape[3])
    bits, first, shift = held.shape[2], 0, 0
    for width in (4, 2, 1):
        if not bits & width:
            continue
        plane = held[:, :, first : first + width]
        parts = [plane >> width * i & (1 << width) - 1 for i in range(8 // width)]
        codes |= torch.stack(parts, 3).flatten(2, 3) << shift
        first, shift = first + width, shift + width
    return codes


def lanes() -> int:
    """Units in a vector."""
    return int(function("lanes")())


def _empty(like: Tensor, grid: Grid, bits: int, gates: int) -> tuple[MatrixStruct, Tensor, Tensor]:
    (rows, columns), width = like.shape, lanes()
    if gates == 1:  # four vectors of units stand where gates would
        gates, gate_stride, block_stride, blocks = 4, width, 4 * width, math.ceil(rows / 4 / width)
    else:
        gate_stride, block_stride, blocks = rows // gates, width, math.ceil(rows / gates / width)
    struct = MatrixStruct(rows, columns, gates, gate_stride, block_stride, blocks, bits, grid.qmin)
    struct.reach = max(-grid.qmin, grid.qmax)
    struct.offset = grid.offset
    size = function("packed_size", ctypes.c_int64)(ctypes.byref(struct))
    codes = torch.empty(size, dtype=torch.uint8)
    sums = torch.empty(blocks * gates * width, dtype=torch.int32)
    struct.codes, struct.sums = codes.data_ptr(), sums.data_ptr()
    return struct, codes, sums


def encode(values: Tensor, scale: float, grid: Grid, stride: int) -> tuple[Tensor, Tensor, bool]:
    """Activations [rows, columns] as unsigned codes, code - low.

    Returns:
        codes [rows, stride] with zeros at the end, sums of the rows' codes [rows], and whether no
        value is NaN.
    """
    rows, columns = values.shape
    codes = torch.empty(rows, stride, dtype=torch.uint8)
    sums = torch.empty(rows, dtype=torch.int32)
    odd = function("encode")(
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
    return codes, sums, not odd
