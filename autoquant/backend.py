"""Which kernels compute, and in which precision: chosen by name for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from autoquant.errors import UserError, shown
from autoquant.settings import KERNELS

BUILT_IN = ("auto", "reference", "torch", "native")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Compute:
    """Kernels and precision.

    Attributes:
        kernel: "auto" (the fastest that suits), "reference", "torch", "native", or an engine of
            your own for recurrent layers, by its name or import path (see
            autoquant.kernels.recurrent.registry).
        precision: of the matrix products in backward passes: "float32", or "bfloat16" where the
            device has it.
    """

    kernel: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not KERNELS.allows(self.kernel):
            names = dict.fromkeys((*BUILT_IN, *KERNELS))
            requirement = f"kernel must be one of {', '.join(names)}, or an import path"
            raise UserError(f"{requirement}, got {shown(self.kernel)}")
        if self.precision not in PRECISIONS:
            raise UserError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {shown(self.precision)}"
            )

    def precision_on(self, device: torch.device) -> str:
        """The precision, or "float32" where the device would only emulate bfloat16, slowly.

        Args:
            device: where the products are computed.
        """
        return self.precision if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 numbers faster than float32 ones.

    Args:
        device: any; of CPUs the one that runs this process is meant.
    """
    if device.type != "cpu":
        return True
    capable: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capable.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


_CURRENT: ContextVar[Compute] = ContextVar("compute")
_DEFAULT = Compute()


def current() -> Compute:
    """The kernels and the precision of the innermost ``computing`` block."""
    return _CURRENT.get(_DEFAULT)


@contextmanager
def computing(compute: Compute) -> Iterator[None]:
    """Choose kernels and a precision within a block, in this thread.

    >>> with computing(Compute(kernel="reference")):
    ...     current().kernel
    'reference'

    Args:
        compute: what is chosen.
    """
    token = _CURRENT.set(compute)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count numbers below 1.2e-38 as zero within the block, on a CPU that can.

    Gradients of a softmax over thousands of classes contain many of them, and some CPUs take many
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
    """Whether this thread flushes already, which torch can set but not report."""
    return float(torch.tensor(2.0**-126, device="cpu") * 0.5) == 0.0
