"""The portable kernels in a C program of their own, against plain loops: here, and on Arm.

Arm needs ``apt-get install gcc-aarch64-linux-gnu qemu-user-static``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.quantization.native.builds import SOURCES

pytestmark = pytest.mark.slow

MACHINES = {  # the compiler, and what runs its programs
    "here": ("gcc", []),
    "arm": ("aarch64-linux-gnu-gcc", ["qemu-aarch64-static"]),
}
FLAGS = ("-O3", "-std=gnu11", "-Wno-psabi", "-static")


@pytest.mark.parametrize("machine", MACHINES)
def test_portable_kernels(machine: str, tmp_path: Path) -> None:
    compiler, emulator = MACHINES[machine]
    missing = [name for name in (compiler, *emulator) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    program = str(tmp_path / "plain")
    source = str(Path(__file__).with_name("plain.c"))
    built = subprocess.run(
        [compiler, *FLAGS, f"-I{SOURCES}", source, "-o", program, "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([*emulator, program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("8 lanes, 0 wrong\n")
