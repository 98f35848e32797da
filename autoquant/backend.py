"""Which kernels run, and in which precision: asked for by name, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from autoquant.errors import UserError

Kernel = Literal["auto", "reference", "torch", "native"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """Kernels and precision.

    Attributes:
        kernel: "auto" (the fastest that suits), "reference", "torch" or "native".
        precision: of the products of gradients: "float32" or "bfloat16" (where the device has it).
    """

    kernel: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kernel", self.kernel, get_args(Kernel)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if value not in known:
                raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}")

    def precision_on(self, device: torch.device) -> str:
        """The precision, or "float32" where the device would only imitate bfloat16, slowly."""
        return self.precision if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 numbers faster than float32 ones."""
    if device.type != "cpu":
        return True
    capable: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capable.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


_CURRENT: ContextVar[Compute] = ContextVar("compute")


def current() -> Compute:
    """What is asked for here."""
    return _CURRENT.get(Compute())


@contextmanager
def computing(compute: Compute) -> Iterator[None]:
    """Ask for kernels and a precision within the block.

    >>> with computing(Compute(kernel="reference")):
    ...     current().kernel
    'reference'
    """
    token = _CURRENT.set(compute)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count numbers below 1.2e-38 as zero within the block, on a CPU that can.

    Gradients of a softmax over thousands of classes are full of them, and some CPUs take many
    times as long to multiply them as other numbers.
    """
    if _flushes() or not torch.set_flush_denormal(True):
        yield
        return
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _flushes() -> bool:
    """Whether this thread flushes already; torch can set it, and cannot tell."""
    return float(torch.tensor(2.0**-126, device="cpu") * 0.5) == 0.0
