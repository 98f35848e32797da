"""Group ``memory``: what a loaded model holds in memory, beside the size of its file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Absent, Options, skipped
from benchmarks.peers import onnx
from benchmarks.quantized import Quantized
from benchmarks.table import Figure, Outcome

GROUP = "memory"
ABOUT = "resident memory of a loaded BiLSTM of 2048 units, in a fresh process, against its file"

UNITS, SMALL = 2048, 8  # the model, and one that is loaded before so that everything is imported
MEGA = 1e6


@dataclass(frozen=True)
class Kind:
    """A way to hold a model: how its file is written, and the name that the probe knows."""

    name: str
    probe: str
    write: Callable[[nn.Module, Path], Path]


def bilstm(units: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.LSTM(units, units, bidirectional=True).eval()


def _write_float(module: nn.Module, folder: Path) -> Path:
    path = folder / "float.safetensors"
    save_file(module.state_dict(), path)
    return path


def _write_packed(bits: int) -> Callable[[nn.Module, Path], Path]:
    def write(module: nn.Module, folder: Path) -> Path:
        features = module.get_parameter("weight_ih_l0").shape[1]
        inputs = torch.randn(4, 2, features)
        quantized = Quantized(module, LayerChoice(bits, 8), Scheme(), inputs)
        path = folder / f"w{bits}.safetensors"
        quantized.pack(path)
        return path

    return write


KINDS = (
    Kind("torch float32", "torch", _write_float),
    Kind("ONNX Runtime int8", "onnx", onnx.dynamic_int8),
    *(Kind(f"autoquant w{bits}a8", "autoquant", _write_packed(bits)) for bits in (8, 4, 2)),
)


@dataclass(frozen=True)
class MemoryCase:
    """Each kind is loaded in a process of its own, and then runs 35 steps of one sequence."""

    group: str = GROUP
    title: str = f"BiLSTM {UNITS}: file, resident memory once loaded, and after a first run; MB"
    units: int = UNITS

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        return KINDS

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(kind.name for kind in self.kinds)

    def measure(self, options: Options) -> Outcome:
        """Write the files and load each in a fresh process."""
        figures: list[Figure] = []
        absent: dict[str, str] = {}
        for kind in self.kinds:
            try:
                figures += _figures(kind, self.units, options.threads)
            except Absent as error:
                absent[kind.name] = str(error)
        notes = ("each in a process of its own, once", *skipped(absent))
        return Outcome(self.group, self.title, self.title, tuple(figures), notes)


def cases() -> Iterator[MemoryCase]:
    yield MemoryCase()


def _figures(kind: Kind, units: int, threads: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        small.mkdir()
        large.mkdir()
        small_file = kind.write(bilstm(SMALL), small)
        file = kind.write(bilstm(units), large)
        size = file.stat().st_size / MEGA
        before, loaded, ran = _probe(kind, [(SMALL, small_file), (units, file)], threads)
    yield Figure(kind.name, "file", size)
    yield Figure(kind.name, "loaded", loaded - before)
    yield Figure(kind.name, "loaded over file", (loaded - before) / size)
    yield Figure(kind.name, "after a run", ran - before)


def _probe(kind: Kind, files: list[tuple[int, Path]], threads: int) -> list[float]:
    """Resident MB before, loaded, and after a run, as a fresh process measures them."""
    arguments = [kind.probe, str(threads), *(f"{units}={path}" for units, path in files)]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.probe", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    if ran.returncode:
        raise RuntimeError(f"the probe of {kind.name} failed:\n{ran.stderr}")
    numbers: list[float] = json.loads(ran.stdout.splitlines()[-1])
    return numbers
