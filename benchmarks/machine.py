"""Facts about the machine and the versions that results were measured with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from benchmarks import kernels

PACKAGES = ("torch", "numpy", "autoquant", "brevitas", "onnx", "onnxruntime", "onnxscript")
INSTRUCTIONS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
MASKS = ("AUTOQUANT_CPU", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that mask CPU features; they are part of a file's name."""
VARIABLES = (
    *MASKS,
    *("MKL_ENABLE_INSTRUCTIONS", "BREVITAS_JIT", "OMP_NUM_THREADS", "LD_PRELOAD"),
)
CPUINFO = Path("/proc/cpuinfo")


def facts(threads: int) -> list[str]:
    """One line for each thing that a reader of the results must know.

    Args:
        threads: of every variant.
    """
    return [
        f"CPU: {cpu_name()}; {', '.join(instructions()) or platform.machine()}; {_caches()}",
        f"threads: {threads} on {_processors()}; load average {_load()} at the start",
        f"torch runs on {torch.backends.cpu.get_cpu_capability()}, autoquant's kernels on "
        f"{kernels.instruction_set()}",
        f"Python {platform.python_version()}, " + ", ".join(_versions()),
        f"commit {_commit()}; {platform.system()} {platform.release()}",
        "environment: " + (", ".join(_environment()) or "none of " + ", ".join(VARIABLES)),
    ]


def cpu_name() -> str:
    """The CPU's model, with family and model number where the name alone says little."""
    info = _cpuinfo()
    name = info.get("model name") or platform.processor() or platform.machine()
    numbers = [info[key] for key in ("cpu family", "model") if key in info]
    return f"{name} ({' '.join(['family', numbers[0], 'model', numbers[1]])})" if numbers else name


def slug(threads: int) -> str:
    """The part of a file name that says the machine: CPU, masked CPU features, threads.

    Args:
        threads: of every variant; one is not named.
    """
    info = _cpuinfo()
    parts = [info.get("model name") or platform.machine()]
    parts += [info[key] for key in ("cpu family", "model") if key in info]
    parts += [os.environ[name] for name in MASKS if os.environ.get(name)]
    parts += [f"{threads} threads"] if threads != 1 else []
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def instructions() -> list[str]:
    """The instruction sets of INSTRUCTIONS that the CPU has."""
    info = _cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return [name for name in INSTRUCTIONS if name in flags]


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    if not CPUINFO.exists():
        return {}
    first = CPUINFO.read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> str:
    sizes = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in _CACHE_FILES)
        sizes += [] if kind == "Instruction" else [f"L{level} {size}"]
    return ", ".join(sizes) or "caches unknown"


_CACHE_FILES = ("level", "type", "size")


def _processors() -> str:
    count = os.cpu_count() or 1
    if not hasattr(os, "sched_getaffinity"):
        return f"{count} processors"
    return f"{len(os.sched_getaffinity(0))} of {count} processors"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"no {name}"


def _commit() -> str:
    commit = _git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _git(*command: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "--no-optional-locks", *command],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()


def _environment() -> list[str]:
    return [f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)]
