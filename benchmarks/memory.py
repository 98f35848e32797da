"""Group ``memory``: resident memory of a loaded model, and the size of its file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Absent, Options, skipped
from benchmarks.peers import onnx
from benchmarks.quantized import QuantizedModule
from benchmarks.table import CaseResult, Measurement

GROUP = "memory"
ABOUT = "resident memory of a loaded BiLSTM of 2048 units, in a fresh process, against its file"

UNITS = 2048
SMALL = 8
"""Units of a model that is loaded first, so that everything is imported."""
MEGA = 1e6


@dataclass(frozen=True)
class Storage:
    """A way to store and load a model.

    Attributes:
        name: as it is printed.
        loader: key of ``probe.LOADERS``.
        write: writes a module into a folder, and returns the file.
    """

    name: str
    loader: str
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
        quantized = QuantizedModule(module, LayerChoice(bits, 8), Scheme(), inputs)
        path = folder / f"w{bits}.safetensors"
        quantized.pack(path)
        return path

    return write


STORAGES = (
    Storage("torch float32", "torch", _write_float),
    Storage("ONNX Runtime int8", "onnx", onnx.dynamic_int8),
    *(Storage(f"autoquant w{bits}a8", "autoquant", _write_packed(bits)) for bits in (8, 4, 2)),
)


@dataclass(frozen=True)
class MemoryCase:
    """Each file is loaded in a process of its own, and then runs 35 steps of one sequence.

    Attributes:
        group: of cases that ``--only`` selects.
        title: what is measured, in full.
        units: of the BiLSTM.
    """

    group: str = GROUP
    title: str = f"BiLSTM {UNITS}: file, resident memory once loaded, and after a first run; MB"
    units: int = UNITS

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(storage.name for storage in STORAGES)

    def measure(self, options: Options) -> CaseResult:
        """Write the files and load each in a fresh process."""
        measurements: list[Measurement] = []
        absent: dict[str, str] = {}
        for storage in STORAGES:
            try:
                measurements += _measurements(storage, self.units, options.threads)
            except Absent as error:
                absent[storage.name] = str(error)
        notes = ("each in a process of its own, once", *skipped(absent))
        return CaseResult(self.group, self.title, self.title, tuple(measurements), notes)


def cases() -> Iterator[MemoryCase]:
    yield MemoryCase()


def _measurements(storage: Storage, units: int, threads: int) -> Iterator[Measurement]:
    """Megabytes of the file, of the loaded model, and of the model after a run.

    Args:
        storage: how the model is stored and loaded.
        units: of the BiLSTM.
        threads: of the fresh process.
    """
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        small.mkdir()
        large.mkdir()
        small_file = storage.write(bilstm(SMALL), small)
        file = storage.write(bilstm(units), large)
        size = file.stat().st_size / MEGA
        before, loaded, after_run = _probe(storage, [(SMALL, small_file), (units, file)], threads)
    yield Measurement(storage.name, "file", size)
    yield Measurement(storage.name, "loaded", loaded - before)
    yield Measurement(storage.name, "loaded over file", (loaded - before) / size)
    yield Measurement(storage.name, "after a run", after_run - before)


def _probe(storage: Storage, files: list[tuple[int, Path]], threads: int) -> list[float]:
    """Resident megabytes before loading, when loaded, and after a run, of a fresh process.

    Args:
        storage: how the model is loaded.
        files: units and file of the small model and of the model.
        threads: of the process.
    """
    arguments = [storage.loader, str(threads), *(f"{units}={path}" for units, path in files)]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.probe", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    if process.returncode:
        raise RuntimeError(f"the probe of {storage.name} failed:\n{process.stderr}")
    numbers: list[float] = json.loads(process.stdout.splitlines()[-1])
    return numbers
