"""AVX-512's kernels on any x86-64 processor with AVX2: their layout and logic, not their speed.

They are built with SIMDe's emulation of the two dot products (``apt-get install libsimde-dev``).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoquant.quantization.native import library
from tests.quantization.native.builds import NEEDS_GCC, build, includes, kernel_names, run_on
from tests.quantization.native.machine import instruction_sets

pytestmark = [
    pytest.mark.slow,
    NEEDS_GCC,
    pytest.mark.skipif("avx2" not in instruction_sets(), reason="needs AVX2"),
]

SUITES = {
    "codes": ["tests/quantization/native/test_matrix.py"],
    "engine": ["tests/kernels/recurrent/test_native.py"],
    "linear": ["tests/kernels/test_integer_linear.py"],
    "pointwise": ["tests/quantization/native/test_pointwise.py", "tests/kernels/test_losses.py"],
    "packed": ["tests/runtime", "tests/artifact/test_load_layers.py"],
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not includes("simde/x86/avx512.h"):
        pytest.skip("needs SIMDe's headers")
    return build(tmp_path_factory.mktemp("emulated"), ["-O1"], emulated=True)


@pytest.mark.parametrize("instructions", ["avx512vnni", "avx512"])
def test_every_kernel(instructions: str, kernels: Path) -> None:
    ran = run_on(
        kernels,
        ["-m", "tests.quantization.native.every_kernel"],
        **{library.VARIABLE: instructions},
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    report = json.loads(ran.stdout)
    assert report["set"] == instructions
    assert report["kernels"] == kernel_names()


def test_16_lanes(kernels: Path) -> None:
    """It is AVX-512's code that runs: twice as many units in a vector as elsewhere."""
    asked = "from autoquant.quantization.native.matrix import lanes; print(lanes())"
    for instructions in library.SETS:
        lanes = "16" if "avx512" in instructions else "8"
        ran = run_on(kernels, ["-c", asked], **{library.VARIABLE: instructions})
        assert ran.stdout.strip() == lanes, ran.stderr


@pytest.mark.parametrize("paths", SUITES.values(), ids=SUITES)
def test_suite(paths: list[str], kernels: Path) -> None:
    """What is tested on this processor's own kernels passes on these, too."""
    options = ["-m", "pytest", "-q", "--no-cov", "-p", "no:cacheprovider"]
    chosen = ["-m", "not slow and not gpu", "-k", "not portable and not avx2"]
    ran = run_on(kernels, [*options, *chosen, *paths])
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    print(ran.stdout.splitlines()[-1])
