"""Number formats: the codes of a parameter, the shape of its scale, and what a file stores of it.

A format is one object. Fake quantization, the size of a packed file, saving and loading all ask it,
so a reloaded weight equals the trained one bit for bit. Adding a format is one class and one
decorated function in any module; ``quantizer.grid`` selects it by its name::

    @number_format("float8")
    def float8(bits: Bits, role: str, scheme: Scheme) -> NumberFormat | None:
        return Float8() if bits == 8 and role != "bias" else None

There are two kinds. A ``CodedFormat`` has integer codes and scales: a scale rule chooses the
scales and training may learn them (see scale_rules). A ``RoundedFormat`` is any other one: it
rounds values to numbers that can be stored, as half precision does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoquant.errors import UserError
from autoquant.plan import TERNARY, Bits, LayerChoice
from autoquant.quantization import storage
from autoquant.quantization.bitpacking import pack, packed_bytes, unpack
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.settings import GRIDS, Scheme

CHUNK = 5 << 15  # codes unpacked at a time: a multiple of 8 and of 5, so that chunks end on bytes

Shape = tuple[int, ...]


class StoredTensor(NamedTuple):
    """A tensor that the packed file holds for a parameter.

    Attributes:
        suffix: what follows the parameter's name in the tensor's name, such as ".codes".
        dtype: one of those that ``autoquant.artifact.manifest.DTYPES`` lists, such as torch.uint8.
        shape: of the tensor.
    """

    suffix: str
    dtype: torch.dtype
    shape: Shape


@dataclass(frozen=True)
class Codes:
    """A parameter as integer codes.

    Attributes:
        codes: int8, in the parameter's shape.
        scale: float32; broadcasts against the codes: [rows, 1, ...] or [1, 1, ...].
        grid: the codes; at most 256.
    """

    codes: Tensor
    scale: Tensor
    grid: Grid

    @property
    def bits(self) -> int:
        """Whole bits that hold any code of the grid: 2 for the three codes of 1.6 bits."""
        return (self.grid.qmax - self.grid.qmin).bit_length()

    def values(self) -> Tensor:
        """The decoded values, float32."""
        return decode(self.codes.float(), self.scale, self.grid)


@runtime_checkable
class CodedFormat(Protocol):
    """Integer codes and scales: every value is ``scale * (code + offset)``.

    When a model is fake-quantized, ``scale_shape`` is called once for each parameter. At every
    training step the scales pass through ``round_scale``, and ``fake_quantize`` encodes and decodes
    on ``grid``. A search calls ``tensors`` for every plan, to count bytes. ``store`` and ``load``
    are called when the trained model is saved and loaded.
    """

    @property
    def grid(self) -> Grid:
        """The codes."""
        ...

    def scale_shape(self, shape: Shape) -> Shape:
        """The shape of a parameter's n scales: [n, 1, ...].

        Args:
            shape: of the parameter, output channels first.

        Returns:
            n is 1 for the whole parameter, or the number of its rows: the scales broadcast against
            it. With any other n each scale belongs to one of n parts of equal size, which follow
            one another in the parameter's memory order: the shape is then [n, 1].
        """
        ...

    def round_scale(self, scale: Tensor) -> Tensor:
        """Scales as they are after storage; gradients pass unchanged (see storage.round_scale).

        Args:
            scale: positive, in the shape of ``scale_shape``.
        """
        ...

    def tensors(self, shape: Shape) -> tuple[StoredTensor, ...]:
        """The tensors that the packed file holds for a parameter; ``store`` makes exactly these.

        Args:
            shape: of the parameter.
        """
        ...

    def store(self, values: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """The stored tensors by their suffixes.

        Args:
            values: the parameter before rounding, after any reparametrization.
            scale: what ``round_scale`` gave.
        """
        ...

    def load(self, stored: Mapping[str, Tensor], shape: Shape) -> Codes | Tensor:
        """The parameter that was stored.

        Args:
            stored: the tensors by their suffixes. They may be the file itself, mapped into memory:
                nothing that is returned may share memory with them.
            shape: of the parameter.

        Returns:
            codes with one scale or one a row, from which a layer can run (see runtime), or values
            in float32: bit for bit those that fake quantization gave.
        """
        ...


class RoundedFormat(Protocol):
    """Numbers that are only rounded; scales, if there are any, are computed from the values.

    When a model is fake-quantized, every forward pass calls ``rounded``. The other methods are
    called as those of a ``CodedFormat``.
    """

    def rounded(self, values: Tensor) -> Tensor:
        """Values as they are after storage (see storage.straight_through for their gradient).

        Args:
            values: the parameter, after any reparametrization.
        """
        ...

    def tensors(self, shape: Shape) -> tuple[StoredTensor, ...]:
        """See ``CodedFormat.tensors``."""
        ...

    def store(self, values: Tensor) -> dict[str, Tensor]:
        """The stored tensors by their suffixes.

        Args:
            values: the parameter before rounding, after any reparametrization.
        """
        ...

    def load(self, stored: Mapping[str, Tensor], shape: Shape) -> Codes | Tensor:
        """See ``CodedFormat.load``."""
        ...


NumberFormat = CodedFormat | RoundedFormat


class FormatOf(Protocol):
    """Gives parameters their formats; called when a parameter is counted, quantized or loaded."""

    def __call__(self, bits: Bits, role: str, scheme: Scheme, /) -> NumberFormat | None:
        """The format of a parameter.

        Args:
            bits: of the parameter, by the plan or ``scheme.bias_bits``: below 32.
            role: "weight", "recurrent" or "bias".
            scheme: all settings of the quantizer.

        Returns:
            None for a parameter that is to have the format that it has under
            ``quantizer.grid=auto``.
        """
        ...


_FORMATS: dict[str, FormatOf] = {}


def number_format(name: str) -> Callable[[FormatOf], FormatOf]:
    """Register a function that gives parameters their formats, as a value of ``quantizer.grid``.

    Args:
        name: the value of ``quantizer.grid``. The packed file keeps it: the module that registers
            it must be imported before such a file is loaded.

    Returns:
        a decorator of a ``FormatOf``.
    """

    def register(format_of_bits: FormatOf) -> FormatOf:
        _FORMATS[name] = format_of_bits
        GRIDS.register(name)
        return format_of_bits

    return register


def format_of(scheme: Scheme, role: str, choice: LayerChoice) -> NumberFormat:
    """The number format of a layer's parameters of one role.

    Args:
        scheme: how numbers become codes.
        role: "weight", "recurrent" or "bias".
        choice: the plan's choice for the layer.
    """
    return format_of_bits(scheme.bits_of(role, choice), role, scheme)


def format_of_bits(bits: Bits, role: str, scheme: Scheme) -> NumberFormat:
    """The number format of a parameter whose bits are known; see ``format_of``.

    Args:
        bits: 1-8 (1.6 among them), 16 or 32.
        role: "weight", "recurrent" or "bias".
        scheme: how numbers become codes.
    """
    added = _FORMATS.get(scheme.grid) if bits < 32 else None
    chosen = None if added is None else added(bits, role, scheme)
    return _built_in(bits, scheme) if chosen is None else chosen


def _built_in(bits: Bits, scheme: Scheme) -> NumberFormat:
    """Integers up to 8 bits, else floats."""
    if bits > 8:
        return FloatFormat(int(bits))
    kind = scheme.grid if scheme.grid in ("midrise", "midtread") else "auto"
    return IntegerFormat(bits, kind, scheme.granularity == "channel", scheme.scale_bits)


@dataclass(frozen=True)
class IntegerFormat:
    """Integer codes of 1 to 8 bits with one scale for each row, or for the parameter.

    ``NAME.codes`` holds unsigned codes without padding between them (see bitpacking),
    ``NAME.scale`` the scales (see storage).

    Attributes:
        bits: of a code; 1.6 bits are the three codes -1, 0 and 1.
        kind: of the grid: "auto", "midrise" or "midtread".
        per_channel: whether each row of a parameter with two or more axes has a scale of its own.
        scale_bits: of a scale: 8, 16 or 32.
    """

    bits: Bits
    kind: str = "auto"
    per_channel: bool = True
    scale_bits: int = 16

    @property
    def grid(self) -> Grid:
        return Grid.signed(self.bits, self.kind)

    def scale_shape(self, shape: Shape) -> Shape:
        """See ``CodedFormat.scale_shape``."""
        count = shape[0] if self.per_channel and len(shape) > 1 else 1
        return (count, *[1] * (len(shape) - 1))

    def round_scale(self, scale: Tensor) -> Tensor:
        """See ``CodedFormat.round_scale``."""
        return storage.round_scale(scale, self.scale_bits)

    def tensors(self, shape: Shape) -> tuple[StoredTensor, ...]:
        """See ``CodedFormat.tensors``."""
        code_bytes = packed_bytes(math.prod(shape), self.bits)
        scales = storage.stored_scale(self.scale_shape(shape)[0], self.scale_bits)
        codes = StoredTensor(".codes", torch.uint8, (code_bytes,))
        return codes, StoredTensor(".scale", *scales)

    def store(self, values: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """See ``CodedFormat.store``."""
        unsigned = encode(values, scale, self.grid) - self.grid.qmin
        packed = pack(unsigned.to(torch.uint8).cpu().numpy().reshape(-1), self.bits)
        stored_scale = storage.store_scale(scale, self.scale_bits)
        return {".codes": torch.from_numpy(packed), ".scale": stored_scale}

    def load(self, stored: Mapping[str, Tensor], shape: Shape) -> Codes:
        """See ``CodedFormat.load``; a UserError where ``store`` cannot have made the tensors."""
        packed = stored[".codes"].numpy()
        if self.bits == TERNARY and packed.size and int(packed.max()) >= 3**5:
            raise UserError(f"bytes of five codes of 1.6 bits must be below {3**5}")
        codes = self._unpack(packed, math.prod(shape))
        scale = storage.restore_scale(stored[".scale"]).view(-1, *[1] * (len(shape) - 1))
        return Codes(torch.from_numpy(codes).view(shape), scale, self.grid)

    def _unpack(self, packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
        """The codes in [qmin, qmax], [count], without a second array of their size."""
        codes = _returned_when_free(count)
        lowest = np.uint8(-self.grid.qmin)
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            start = packed_bytes(first, self.bits)
            part = packed[start : start + packed_bytes(size, self.bits)]
            signed = codes[first : first + size].view(np.uint8)
            np.subtract(unpack(part, self.bits, size), lowest, out=signed)
        return codes


def _returned_when_free(count: int) -> NDArray[np.int8]:
    """Memory that the system gets back as soon as it is free; malloc would keep part of it."""
    return np.frombuffer(mmap(-1, max(1, count)), np.int8)[:count]


@dataclass(frozen=True)
class FloatFormat:
    """Half precision, or float32; ``NAME`` holds the values.

    Attributes:
        bits: 16 (half precision; magnitudes beyond its range become its largest number) or 32.
    """

    bits: int

    def rounded(self, values: Tensor) -> Tensor:
        """See ``RoundedFormat.rounded``."""
        return storage.cast(values, self.bits)

    def tensors(self, shape: Shape) -> tuple[StoredTensor, ...]:
        """See ``CodedFormat.tensors``."""
        return (StoredTensor("", storage.FLOAT_TYPES[self.bits], shape),)

    def store(self, values: Tensor) -> dict[str, Tensor]:
        """See ``RoundedFormat.store``."""
        return {"": self.rounded(values).to(storage.FLOAT_TYPES[self.bits])}

    def load(self, stored: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See ``CodedFormat.load``; a UserError where half precision is not finite."""
        if self.bits == 16 and not bool(stored[""].isfinite().all()):
            raise UserError("numbers in half precision must be finite")
        return stored[""].to(torch.float32, copy=True)
