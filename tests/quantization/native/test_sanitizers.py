"""All kernels under AddressSanitizer and UndefinedBehaviorSanitizer: no report may come.

AVX-512's kernels are emulated where the processor lacks them and SIMDe's headers are installed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoquant.quantization.native import library
from tests.quantization.native.builds import NEEDS_GCC, kernel_names
from tests.quantization.native.sanitize import (
    KERNELS,
    PYTEST,
    REPORTS,
    build_sanitized,
    preloaded,
    reported,
    sanitized,
)

pytestmark = [pytest.mark.slow, NEEDS_GCC]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if NEEDS_GCC.args[0] or preloaded() is None:
        pytest.skip("needs gcc with libasan and libubsan")
    return tmp_path_factory.mktemp("sanitized")


@pytest.fixture(scope="module")
def kernels(folder: Path) -> Path:
    return build_sanitized(folder)


@pytest.mark.parametrize("instructions", library.SETS)
def test_no_report(instructions: str, kernels: Path) -> None:
    ran = sanitized(kernels, *KERNELS, **{library.VARIABLE: instructions})
    if "AUTOQUANT_CPU must be one of" in ran.stderr:
        pytest.skip("the processor does not have it, and it is not emulated")
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert not [word for word in REPORTS if word in ran.stderr], ran.stderr[-4000:]
    report = json.loads(ran.stdout)
    assert report["set"] == instructions
    assert report["kernels"] == kernel_names()


def test_a_report_would_come(kernels: Path) -> None:
    """A kernel that is told to write too far is caught: the memory of tensors is watched."""
    ran = sanitized(kernels, *KERNELS, "overrun")
    assert ran.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in ran.stderr
    assert "encode" in ran.stderr


PROGRAMS = {
    "packed layers": [*PYTEST, "tests/runtime/test_operands.py", "tests/runtime/test_streaming.py"],
    "operators": [*PYTEST, "tests/runtime/test_traced.py", "-k", "traced or nan or refused"],
    "forged files": ["-m", "tests.artifact.fuzz", "--files", "500", "--seed", "3"],
}


@pytest.mark.parametrize("arguments", PROGRAMS.values(), ids=PROGRAMS)
def test_no_report_from_what_calls_kernels(arguments: list[str], kernels: Path) -> None:
    """``python -m tests.quantization.native.sanitize`` runs more."""
    ran = sanitized(kernels, *arguments)
    assert not reported(ran)
