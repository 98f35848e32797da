"""Finding, loading and calling the compiled kernels."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import torch
from torch import Tensor

from autoquant.errors import UserError

log = logging.getLogger(__name__)

SETS = ("portable", "avx2", "avx512vnni", "avx512")  # in the order of machine.c
VARIABLE = "AUTOQUANT_CPU"
FILE_VARIABLE = "AUTOQUANT_KERNELS"


@cache
def _library() -> ctypes.CDLL | None:
    """The library that AUTOQUANT_KERNELS names (one built for a sanitizer, say), or the package's.

    Raises:
        UserError: the variable names a file that is no library.
    """
    path = os.environ.get(FILE_VARIABLE)
    if path:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            raise UserError(f"{FILE_VARIABLE} must name a library, got {error}") from error
    spec = importlib.util.find_spec("autoquant.quantization.native._kernels")
    if spec is None or spec.origin is None:
        log.warning("the C kernels were not built (no compiler at install?): torch is used, slower")
        return None
    try:
        return ctypes.CDLL(spec.origin)
    except OSError as error:
        log.warning("the C kernels could not be loaded, torch's are used: %s", error)
        return None


def available() -> bool:
    """Whether the compiled kernels were built and can be loaded."""
    return _library() is not None


@cache
def instruction_set() -> str:
    """The instruction set of the kernels: the processor's best, or the one AUTOQUANT_CPU names.

    Raises:
        UserError: the variable names no set, or one that the processor does not have.
    """
    library = _library()
    assert library is not None
    best = library.best_set()
    name = os.environ.get(VARIABLE, "") or SETS[best]
    if name not in SETS[: best + 1]:
        raise UserError(f"{VARIABLE} must be one of {', '.join(SETS[: best + 1])}, got {name!r}")
    return name


@cache
def function(name: str, result: Any = ctypes.c_int) -> Callable[..., Any]:
    """A kernel for this machine's instruction set; it releases the interpreter lock.

    Args:
        name: of the C function, without the instruction set.
        result: ctypes type of what it returns; None for nothing.
    """
    kernel: Any = getattr(_library(), f"{name}_{instruction_set()}")
    kernel.restype = result
    return kernel  # type: ignore[no-any-return]


def address(tensor: Tensor | None, dtype: torch.dtype, count: int) -> int | None:
    """The address of a tensor's data, checked: every address that C gets comes from here.

    Memory that the caller has just allocated itself, of this size, needs no check.

    Args:
        tensor: None for an absent one; the caller keeps it alive.
        dtype: that C reads or writes.
        count: number of entries that C reads or writes.

    Returns:
        None where there is no tensor: NULL.

    Raises:
        UserError: the tensor is of another type or size, not contiguous, or has no memory on the
            CPU.
    """
    if tensor is None:
        return None
    if (
        tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.numel() == count > 0
        and tensor.is_contiguous()
    ):
        try:
            start = tensor.data_ptr()
        except RuntimeError as error:  # inside vmap, say
            raise UserError(f"a kernel's operand must have memory of its own: {error}") from error
        if start:
            return start
    raise UserError(_refusal(tensor, dtype, count))


def _refusal(tensor: Tensor, dtype: torch.dtype, count: int) -> str:
    """Why a kernel cannot read a tensor.

    Args:
        tensor: as in ``address``, like all that follow.
        dtype: that C reads or writes.
        count: number of entries.
    """
    layout = "contiguous" if tensor.is_contiguous() else "strided"
    came = f"{layout} {tensor.dtype} {[*tensor.shape]} on {tensor.device.type}"
    fits = tensor.dtype == dtype and tensor.numel() == count > 0 and tensor.is_contiguous()
    if fits and tensor.is_cpu:  # a FakeTensor
        return f"a kernel's operand must have memory of its own, got {came}"
    return (
        f"a kernel's operand must be contiguous {dtype} on the CPU with {max(count, 1)} entries, "
        f"got {came}"
    )


def pointer(tensor: Tensor | None, dtype: torch.dtype, count: int) -> ctypes.c_void_p:
    """The same as an argument of a C function.

    Args:
        tensor: as in ``address``, like all that follow.
        dtype: of its entries.
        count: their number.
    """
    return ctypes.c_void_p(address(tensor, dtype, count))


_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def parallel(work: Callable[[int, int], int | None], count: int, least: int = 1) -> int:
    """Call ``work`` on shares of items, on as many threads as torch has.

    Args:
        work: (first, end) -> a flag, or None, which counts as 0.
        count: number of items.
        least: fewest items that are worth a thread.

    Returns:
        the flags, or-ed together.
    """
    shares = max(1, min(torch.get_num_threads(), count // max(1, least)))
    if shares == 1:
        return work(0, count) or 0
    ends = [count * i // shares for i in range(shares + 1)]
    pool = _pool(shares - 1)
    futures = [pool.submit(work, *ends[i : i + 2]) for i in range(1, shares)]
    try:
        flag = work(0, ends[1]) or 0
    finally:  # an error must not free the memory that other threads still write to
        wait(futures)
    for future in futures:
        flag |= future.result() or 0
    return flag


def _pool(threads: int) -> ThreadPoolExecutor:
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, "autoquant")
    return _pools[threads]


def array(values: Sequence[int]) -> Any:
    """Whole numbers as a C array of int64.

    Args:
        values: the numbers.
    """
    return (ctypes.c_int64 * len(values))(*values)
