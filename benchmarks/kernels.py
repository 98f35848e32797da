"""Asking autoquant for its kernels by name; absent ones are said to be absent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch

from benchmarks.case import Absent

P = ParamSpec("P")
T = TypeVar("T")


class Kernel(NamedTuple):
    """Kernels and the precision of their gradients' products."""

    name: str
    precision: str = "float32"

    def __str__(self) -> str:
        short = {"float32": "float32 gradients", "bfloat16": "bfloat16 gradients"}
        return f"{self.name}, {short[self.precision]}" if self.name == "native" else self.name


REFERENCE, TORCH = Kernel("reference"), Kernel("torch")
NATIVE, NATIVE_BF16 = Kernel("native"), Kernel("native", "bfloat16")


def under(kernel: Kernel, call: Callable[P, T]) -> Callable[P, T]:
    """A call that runs on the kernels that are named.

    Raises:
        Absent: this autoquant, or this machine, does not have them.
    """
    context = _context(kernel)

    @functools.wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with context():
            return call(*args, **kwargs)

    return called


def _context(kernel: Kernel) -> Callable[[], AbstractContextManager[Any]]:
    try:
        from autoquant.kernels import Compute, computing
    except ImportError as error:
        if kernel == REFERENCE:  # what there was before kernels could be chosen
            return nullcontext
        raise Absent("this autoquant has no autoquant.kernels.computing") from error
    if kernel.name == "native" and not _built():
        raise Absent("the compiled kernels are not built")
    if kernel.precision == "bfloat16" and not _has_bfloat16():
        raise Absent("without bfloat16 products in the CPU autoquant computes in float32")
    return lambda: computing(Compute(kernel=kernel.name, precision=kernel.precision))


def _built() -> bool:
    from autoquant.quantization import native

    return native.available()


def _has_bfloat16() -> bool:
    try:
        from autoquant.backend import has_bfloat16
    except ImportError:
        return True  # as far as one can ask
    return has_bfloat16(torch.device("cpu"))


def instruction_set() -> str:
    """What the compiled kernels run on."""
    try:
        from autoquant.quantization import native
    except ImportError:
        return "torch alone"
    return native.instruction_set() if native.available() else "torch alone (not built)"
