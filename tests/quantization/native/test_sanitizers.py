"""All kernels under AddressSanitizer and UndefinedBehaviorSanitizer: no report may come.

AVX-512's kernels are emulated where the processor lacks them and SIMDe's headers are installed.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from autoquant.quantization.native import library
from tests.quantization.native.builds import (
    NEEDS_GCC,
    build,
    includes,
    kernel_names,
    run_on,
    runtime_of,
)
from tests.quantization.native.machine import instruction_sets

pytestmark = [pytest.mark.slow, NEEDS_GCC]

SANITIZE = (
    *("-O1", "-g", "-fno-omit-frame-pointer"),
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",  # the first report ends the program
)
REPORTS = ("runtime error", "AddressSanitizer", "UndefinedBehaviorSanitizer")


def preloaded() -> str | None:
    """The sanitizers' own libraries: they must come before everything else."""
    found = [runtime_of(name) for name in ("libasan.so", "libubsan.so")]
    return None if None in found else " ".join(filter(None, found))


def sanitized(kernels: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_on(
        kernels,
        ["-m", "tests.quantization.native.every_kernel", *arguments],
        LD_PRELOAD=preloaded() or "",
        ASAN_OPTIONS="detect_leaks=0",  # Python's own are no concern of ours
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",  # so that each object's memory has fences of its own
        **variables,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if NEEDS_GCC.args[0] or preloaded() is None:
        pytest.skip("needs gcc with libasan and libubsan")
    return tmp_path_factory.mktemp("sanitized")


@pytest.fixture(scope="module")
def kernels(folder: Path) -> Path:
    """Emulated where that is the only way to run AVX-512's."""
    emulated = "avx512" not in instruction_sets() and includes("simde/x86/avx512.h")
    return build(folder, SANITIZE, emulated=emulated and "avx2" in instruction_sets())


@pytest.mark.parametrize("instructions", library.SETS)
def test_no_report(instructions: str, kernels: Path) -> None:
    ran = sanitized(kernels, **{library.VARIABLE: instructions})
    if "AUTOQUANT_CPU must be one of" in ran.stderr:
        pytest.skip("the processor does not have it, and it is not emulated")
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert not [word for word in REPORTS if word in ran.stderr], ran.stderr[-4000:]
    report = json.loads(ran.stdout)
    assert report["set"] == instructions
    assert report["kernels"] == kernel_names()


def test_a_report_would_come(kernels: Path) -> None:
    """A kernel that is told to write too far is caught: the memory of tensors is watched."""
    ran = sanitized(kernels, "overrun")
    assert ran.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in ran.stderr
    assert "encode" in ran.stderr
