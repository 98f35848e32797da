"""The C kernels, built once more in another way: for a sanitizer, or emulated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from autoquant.quantization.native import library
from tests.quantization.native.machine import ROOT

SOURCES = ROOT / "autoquant" / "quantization" / "native"
STANDARD = ("-std=gnu11", "-fPIC", "-Wno-psabi")
EMULATED = "-DAQ_EMULATED"
BEST_SET = "int best_set(void) { return %d; }\n"

NEEDS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def kernel_names() -> list[str]:
    """What each instruction set offers, as its sources say."""
    text = "".join(path.read_text() for path in SOURCES.glob("*.h"))
    return sorted(re.findall(r"^\w+ NAME\((\w+)\)\(", text, re.MULTILINE))


def includes(header: str) -> bool:
    """Whether gcc finds a header."""
    asked = subprocess.run(
        ["gcc", "-E", "-x", "c", "-o", os.devnull, "-"],
        input=f"#include <{header}>\n",
        text=True,
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0


def runtime_of(name: str) -> str | None:
    """Where gcc keeps a library, libasan.so for one, or None."""
    path = subprocess.run(
        ["gcc", f"-print-file-name={name}"], text=True, capture_output=True, check=True
    ).stdout.strip()
    return path if Path(path).is_absolute() else None


def build(folder: Path, flags: Iterable[str], *, emulated: bool = False) -> Path:
    """A library of all kernels.

    Args:
        emulated: whether AVX-512's kernels use SIMDe, and the processor is said to have it.
    """
    machine = folder / "machine.c"
    best = BEST_SET % library.SETS.index("avx512")
    machine.write_text(best if emulated else (SOURCES / "machine.c").read_text())
    sources = {path.stem: path for path in SOURCES.glob("*.c")} | {"machine": machine}
    compilers = []
    for name, source in sources.items():
        more = ["-mavx2", "-mfma", EMULATED] if emulated and name.startswith("avx512") else []
        command = ["gcc", *STANDARD, *flags, *more, f"-I{SOURCES}"]
        command += ["-c", str(source), "-o", str(folder / f"{name}.o")]
        compilers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for compiler in compilers:
        _, errors = compiler.communicate()
        assert compiler.returncode == 0, errors
    path = folder / "kernels.so"
    objects = [str(folder / f"{name}.o") for name in sources]
    subprocess.run(["gcc", "-shared", *flags, "-o", str(path), *objects, "-lm"], check=True)
    return path


def run_on(
    kernels: Path, arguments: Iterable[str], *, timeout: float = 1500, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python on these kernels, one thread, in the repository's root."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", library.FILE_VARIABLE: str(kernels)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
