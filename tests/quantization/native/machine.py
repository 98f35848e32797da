"""What tests of the compiled kernels share: skipping, instruction sets, threads, processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from autoquant.quantization import native
from autoquant.quantization.native import library

ROOT = Path(__file__).parents[3]
NEEDS_KERNELS = pytest.mark.skipif(
    not native.available(), reason="the C kernels were not built (no compiler at install)"
)


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has; the best one is the last."""
    loaded = library._library()
    return () if loaded is None else library.SETS[: loaded.best_set() + 1]


EVERY_SET = pytest.mark.parametrize("instructions", instruction_sets() or ("portable",))


def _forget() -> None:
    library.instruction_set.cache_clear()
    library.function.cache_clear()


@contextmanager
def running_on(instructions: str) -> Iterator[None]:
    """Kernels of one instruction set within the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.VARIABLE, instructions)
        _forget()
        yield
    _forget()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """As many threads as that within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def bfloat16_everywhere() -> Iterator[None]:
    """Products in bfloat16 within the block, also where the processor only imitates them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoquant.backend.has_bfloat16", lambda device: True)
        yield


def process(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code by itself, in this interpreter's environment and on one thread."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether float32 tensors are equal to the bit, the sign of a zero too; a NaN is a NaN."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    bits = [each.detach().nan_to_num(7.5, torch.inf, -torch.inf) for each in (left, right)]
    odd = torch.equal(left.isnan(), right.isnan())
    return odd and torch.equal(*(each.contiguous().view(torch.int32) for each in bits))
