"""Builds the kernels under AddressSanitizer and UBSan and runs programs on them.

    python -m tests.quantization.native.sanitize --files 50000 --seed 1

runs every kernel on each instruction set, the tests of what calls kernels, and the fuzzer of packed
files; ``--only`` names some of these. The first report ends a program. It needs gcc with its
sanitizers' libraries; AVX-512's kernels are emulated where the processor lacks them and SIMDe's
headers are installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoquant.quantization.native import library
from tests.quantization.native.builds import build, includes, run_on, runtime_of
from tests.quantization.native.machine import instruction_sets

SANITIZE = (
    *("-O1", "-g", "-fno-omit-frame-pointer"),
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",  # the first report ends the program
)
REPORTS = ("runtime error", "AddressSanitizer", "UndefinedBehaviorSanitizer")
KERNELS = ("-m", "tests.quantization.native.every_kernel")
PYTEST = ("-m", "pytest", "-q", "--no-cov", "-p", "no:cacheprovider")
TESTS = (  # of what calls C; others start processes or compare times
    *("tests/runtime", "tests/kernels", "tests/artifact/test_load_layers.py"),
    *(f"tests/quantization/native/test_{name}.py" for name in ("matrix", "pointwise", "training")),
)


def preloaded() -> str | None:
    """The sanitizers' own libraries, which must come before everything else; None without them."""
    found = [runtime_of(name) for name in ("libasan.so", "libubsan.so")]
    return None if None in found else " ".join(filter(None, found))


def build_sanitized(folder: Path) -> Path:
    """The library; emulated where that is the only way to run AVX-512's kernels.

    Args:
        folder: where it is built.
    """
    emulated = "avx512" not in instruction_sets() and includes("simde/x86/avx512.h")
    return build(folder, SANITIZE, emulated=emulated and "avx2" in instruction_sets())


def sanitized(
    kernels: Path, *arguments: str, timeout: float = 1500, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments on the library.

    Args:
        kernels: the library.
        arguments: of Python.
        timeout: seconds.
        variables: of the environment.
    """
    return run_on(
        kernels,
        arguments,
        timeout=timeout,
        LD_PRELOAD=preloaded() or "",
        ASAN_OPTIONS="detect_leaks=0",  # Python's own are no concern of ours
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",  # so that each object's memory has fences of its own
        **variables,
    )


def reported(ran: subprocess.CompletedProcess[str]) -> str:
    """What went wrong, the sanitizer's report first; nothing where all is well.

    Args:
        ran: a program that has ended.
    """
    text = ran.stdout + ran.stderr
    places = [text.find(word) for word in REPORTS if word in text]
    if places:
        return text[min(places) :][:4000]
    return text[-4000:] if ran.returncode else ""


@dataclass(frozen=True)
class Program:
    """What runs on the sanitized library.

    Attributes:
        kind: by which the command line selects it.
        arguments: of Python.
        instructions: the instruction set, or nothing for the best one.
    """

    kind: str
    arguments: Sequence[str]
    instructions: str = ""

    def run(self, kernels: Path) -> bool:
        """Run, and print what came of it; whether all is well."""
        started = time.monotonic()
        variables = {library.VARIABLE: self.instructions} if self.instructions else {}
        ran = sanitized(kernels, *self.arguments, timeout=86_400, **variables)
        wrong = reported(ran)
        lacks = f"{library.VARIABLE} must be one of" in wrong
        result = "not on this processor" if lacks else wrong or ran.stdout.splitlines()[-1][:200]
        name = f"{self.kind} {self.instructions}".strip()
        print(f"{name}: {time.monotonic() - started:.0f} s: {result}", flush=True)
        return lacks or not wrong


def programs(files: int, seed: int) -> list[Program]:
    """All programs.

    Args:
        files: forged files that are loaded.
        seed: of the forged files.
    """
    fuzz = "-m", "tests.artifact.fuzz", "--files", str(files), "--seed", str(seed)
    return [
        *(Program("kernels", KERNELS, name) for name in library.SETS),
        Program("tests", (*PYTEST, *TESTS)),
        Program("fuzz", fuzz),
    ]


def main() -> int:
    """Run all that the command line asks for; 1 after a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000, help="forged files that are loaded")
    parser.add_argument("--seed", type=int, default=1, help="of the forged files")
    parser.add_argument(
        "--only", choices=("kernels", "tests", "fuzz"), action="append", help="run this alone"
    )
    asked = parser.parse_args()
    if preloaded() is None:
        print("gcc's libraries libasan and libubsan are needed, got none")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        kernels = build_sanitized(Path(folder))
        results = [
            program.run(kernels)
            for program in programs(asked.files, asked.seed)
            if not asked.only or program.kind in asked.only
        ]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
