"""Choosing autoquant's kernels by name; those that are missing on this machine are Absent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import torch

from autoquant.backend import Compute, computing, has_bfloat16
from autoquant.quantization import native
from benchmarks.case import Absent

P = ParamSpec("P")
T = TypeVar("T")


class Kernel(NamedTuple):
    """Kernels and the precision of the matrix products in backward passes."""

    name: str
    precision: str = "float32"

    def __str__(self) -> str:
        return f"{self.name}, {self.precision} gradients" if self.name == "native" else self.name


REFERENCE, TORCH = Kernel("reference"), Kernel("torch")
NATIVE, NATIVE_BF16 = Kernel("native"), Kernel("native", "bfloat16")


def under(kernel: Kernel, call: Callable[P, T]) -> Callable[P, T]:
    """A call that runs on the kernels that are named.

    Args:
        kernel: kernels and precision.
        call: what is run on them.

    Raises:
        Absent: this machine does not have them.
    """
    if kernel.name == "native" and not native.available():
        raise Absent("the compiled kernels are not built")
    if kernel.precision == "bfloat16" and not has_bfloat16(torch.device("cpu")):
        raise Absent("without bfloat16 products in the CPU autoquant computes in float32")
    compute = Compute(kernel=kernel.name, precision=kernel.precision)

    @functools.wraps(call)
    def call_on_kernel(*args: P.args, **kwargs: P.kwargs) -> T:
        with computing(compute):
            return call(*args, **kwargs)

    return call_on_kernel


def instruction_set() -> str:
    """The instruction set that the compiled kernels use."""
    return native.instruction_set() if native.available() else "torch alone (not built)"
