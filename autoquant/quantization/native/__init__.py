"""The compiled kernels: C, built at install where a compiler is, loaded without torch's ABI.

``library.py`` finds and loads them, ``matrix.py`` packs integer codes in their order.
"""

from autoquant.quantization.native.library import (
    available,
    function,
    instruction_set,
    parallel,
    pointer,
)
from autoquant.quantization.native.matrix import Matrix, encode, pack_codes, pack_values

__all__ = [
    "Matrix",
    "available",
    "encode",
    "function",
    "instruction_set",
    "pack_codes",
    "pack_values",
    "parallel",
    "pointer",
]
