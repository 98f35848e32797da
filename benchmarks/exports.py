"""Group ``exports``: a streaming step of exported models, their memory and bytes, and products."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from autoquant.exports.onnx.files import example_feeds
from autoquant.exports.onnx.memory import session_memory
from benchmarks import onnx_products
from benchmarks.case import Call, Case, Measurable, Options, Variant
from benchmarks.checks import close_to
from benchmarks.exported import COMPILERS, STEPS, CCalls, Exported, loaded_call, onnx_call
from benchmarks.peers import onnx_steps
from benchmarks.table import CaseResult, Measurement

GROUP = "exports"
ABOUT = "a streaming step of exported models over autoquant.load; their memory and bytes; products"

BITS = (2, 4, 8)
STREAMING = ("LSTM 300, 10,000 words", "LSTM 128, 4,000 words", "GRU 2 x 128, 40 features")
WHOLE = ("convolutions", "transformer encoder")
IN_MEMORY = ("LSTM 300, 10,000 words", "LSTM 2048, 2,000 words")
ROUNDS = 7
"""At most, so that all cases take less than five minutes."""
MEGA = 1e6

# Largest relative errors: an export against the packed file, and int8 against float.
SAME, INT8 = 0.02, 0.1


def cases() -> Iterator[Measurable]:
    with tempfile.TemporaryDirectory() as folder:
        names = dict.fromkeys((*STREAMING, *WHOLE, *IN_MEMORY))
        subjects = {name: [Exported(name, bits, Path(folder)) for bits in BITS] for name in names}
        for name in (*STREAMING, *WHOLE):
            yield from map(_speed, subjects[name])
        yield BytesCase(tuple(each for name in (*STREAMING, *WHOLE) for each in subjects[name]))
        for name in IN_MEMORY:
            yield MemoryCase(tuple(subjects[name]))
        yield from onnx_products.cases(GROUP)


# --- speed ---------------------------------------------------------------------------------------


def _speed(exported: Exported) -> Case:
    what = f"{STEPS} streaming steps" if exported.model.recurrent else "a whole pass"
    label = f"{exported.name}, w{exported.bits}"
    title = f"{label}: time of {what}, batch 1"
    return Case(GROUP, title, label, tuple(_variants(exported)), max_rounds=ROUNDS)


def _variants(exported: Exported) -> Iterator[Variant]:
    check = close_to(lambda: loaded_call(exported)(), SAME)
    yield Variant("autoquant.load", lambda: loaded_call(exported))
    for prefer in _preferences(exported):
        yield Variant(f"ONNX, prefer {prefer}", partial(_onnx, exported, prefer), check)
    c = _Compiled(exported)
    for flags in COMPILERS:
        yield Variant(f"C {flags}", partial(c.single, flags), check)
        if exported.model.recurrent:
            yield Variant(f"C {flags}, all steps in one call", partial(c.sequence, flags), check)
    yield from _peers(exported)


def _onnx(exported: Exported, prefer: str) -> Call:
    return onnx_call(exported, exported.lowered(prefer).model.SerializeToString())


class _Compiled:
    """Compiles each program once.

    Args:
        exported: gives the program.
    """

    def __init__(self, exported: Exported) -> None:
        self.exported = exported
        self._calls: dict[str, CCalls] = {}

    def single(self, flags: str) -> Call:
        return self._of(flags).single()

    def sequence(self, flags: str) -> Call:
        return self._of(flags).sequence()

    def _of(self, flags: str) -> CCalls:
        if flags not in self._calls:
            self._calls[flags] = CCalls(self.exported, COMPILERS[flags])
        return self._calls[flags]


def _peers(exported: Exported) -> Iterator[Variant]:
    """ONNX Runtime's float32 and int8 of the float model."""
    check = close_to(lambda: loaded_call(exported, exported.module)(), INT8)
    yield Variant("ONNX Runtime int8", partial(_int8, exported, "int8", lambda m: m), check)
    if exported.name.startswith("GRU"):
        name = "ONNX Runtime int8, GRU as products"
        yield Variant(name, partial(_int8, exported, "products", _with_products), check)


def _int8(exported: Exported, name: str, change: Callable[[nn.Module], nn.Module]) -> Call:
    """The float model in int8.

    Args:
        exported: gives the model.
        name: of the file.
        change: what is done to the model first.
    """
    module, path = change(exported.module), exported.folder / f"{name}.onnx"
    inputs = exported.inputs[:1]
    if not exported.model.recurrent:
        return onnx_call(exported, onnx_steps.int8(module, (inputs,), path))
    arguments = inputs[:, :1].contiguous(), *onnx_steps.start(exported.module.rnn)
    step = onnx_steps.Step(module).eval()
    return onnx_call(exported, onnx_steps.int8(step, arguments, path))


def _with_products(module: nn.Module) -> nn.Module:
    changed = copy.deepcopy(module)
    changed.rnn = onnx_steps.GruProducts(changed.rnn)
    return changed


# --- memory --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemoryCase:
    """The step graphs of a model, each in a process of its own; Linux only.

    Attributes:
        subjects: the model with several bits.
        group: of cases that ``--only`` selects.
    """

    subjects: tuple[Exported, ...]
    group: str = GROUP

    @property
    def title(self) -> str:
        return f"{self.subjects[0].name}: memory in ONNX Runtime beyond an empty session; MB"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(_label(*graph) for graph in _graphs(self.subjects))

    def measure(self, options: Options) -> CaseResult:
        """Write and load each graph."""
        measurements: list[Measurement] = []
        for exported, prefer in _graphs(self.subjects):
            measurements += _memory(exported, prefer)
        notes = (
            "each in a process of its own with one thread, once",
            "resident: after three steps; trimmed: the same with malloc_trim(0) after loading",
            "code: of resident and trimmed, pages of ONNX Runtime's library that an empty session "
            "has not read; processes share them",
        )
        return CaseResult(self.group, self.title, self.title, tuple(measurements), notes)


def _graphs(subjects: tuple[Exported, ...]) -> Iterator[tuple[Exported, str]]:
    """Each model with each preference that makes another graph of it."""
    for exported in subjects:
        for prefer in _preferences(exported):
            yield exported, prefer


def _preferences(exported: Exported) -> tuple[str, ...]:
    return ("speed", "size") if exported.bits == 2 else ("speed",)


def _label(exported: Exported, prefer: str) -> str:
    return f"w{exported.bits}, prefer {prefer}"


def _memory(exported: Exported, prefer: str) -> Iterator[Measurement]:
    """Megabytes of file and process.

    Args:
        exported: the model.
        prefer: speed or size.
    """
    path = exported.folder / "step.onnx"
    path.write_bytes(exported.lowered(prefer).model.SerializeToString())
    file = path.stat().st_size
    measured = session_memory(path, example_feeds(exported.recording, batch=1))
    if measured is None:
        return
    beyond = {
        "trimmed": measured.trimmed - measured.empty,
        "resident": measured.resident - measured.empty,
        "peak": measured.peak - measured.empty,
        "code": measured.code,
    }
    label = _label(exported, prefer)
    yield Measurement(label, "trimmed over file", beyond["trimmed"] / file)
    yield Measurement(label, "resident over file", beyond["resident"] / file)
    yield Measurement(label, "file", file / MEGA)
    for quantity, count in beyond.items():
        yield Measurement(label, quantity, count / MEGA)


# --- bytes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BytesCase:
    """Exported bytes against the codes and scales in them.

    Attributes:
        subjects: models with several bits.
        group: of cases that ``--only`` selects.
        title: what is measured, in full.
    """

    subjects: tuple[Exported, ...]
    group: str = GROUP
    title: str = "bytes of exports over their codes and scales; KB"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{e.name}, {_label(e, prefer)}" for e, prefer in _graphs(self.subjects))

    def measure(self, options: Options) -> CaseResult:
        """Lower each model."""
        measurements: list[Measurement] = []
        for exported, prefer in _graphs(self.subjects):
            measurements += _bytes(exported, prefer)
        notes = (
            "codes and scales: as ONNX stores them, without padding",
            "C over codes: its constants over codes at their own bits and a float scale for a row",
        )
        return CaseResult(self.group, self.title, self.title, tuple(measurements), notes)


def _bytes(exported: Exported, prefer: str) -> Iterator[Measurement]:
    """Kilobytes of the ONNX graph and the C program.

    Args:
        exported: the model.
        prefer: speed or size.
    """
    lowered = exported.lowered(prefer)
    file = lowered.model.ByteSize()
    padding = sum(each.padding for each in lowered.stored)
    needed = sum(each.bytes for each in lowered.stored) - padding
    label = f"{exported.name}, {_label(exported, prefer)}"
    yield Measurement(label, "ONNX over codes and scales", file / needed)
    yield Measurement(label, "ONNX", file / 1e3)
    yield Measurement(label, "codes and scales", needed / 1e3)
    yield Measurement(label, "padding", padding / 1e3)
    yield Measurement(label, "C over codes", exported.program.flash / exported.exact_bytes())
    yield Measurement(label, "C", exported.program.flash / 1e3)
