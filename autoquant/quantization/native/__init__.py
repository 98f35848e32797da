"""The compiled kernels: C, built at install where a compiler is, loaded without torch's ABI.

``library.py`` finds and loads them and checks addresses, ``tracing.py`` keeps torch's compilers
away from them, ``matrix.py`` packs integer codes in their order.
"""

from autoquant.quantization.native.library import (
    address,
    available,
    function,
    instruction_set,
    parallel,
    pointer,
)
from autoquant.quantization.native.matrix import (
    Matrix,
    MatrixLayout,
    encode,
    pack_codes,
    pack_values,
)
from autoquant.quantization.native.tracing import is_traced, untraced

__all__ = [
    "Matrix",
    "MatrixLayout",
    "address",
    "available",
    "encode",
    "function",
    "instruction_set",
    "is_traced",
    "pack_codes",
    "pack_values",
    "parallel",
    "pointer",
    "untraced",
]
