"""Memory while a model runs: its own tensors, and the most that a forward pass allocates."""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from autoquant.artifact.task_model import load_for_task
from autoquant.tasks.speech.speech_task import SpeechTask
from autoquant.training.weights import load_weights
from studies.markdown import table_of

CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
"""Objects that belong to no model."""


@dataclass(frozen=True)
class RunningMemory:
    """Bytes on the CPU.

    Attributes:
        model: of the model's parameters and buffers, and of tensors that its modules keep.
        forward: the most that a forward pass has allocated at a time, its outputs included.
    """

    model: int
    forward: int


@torch.no_grad()
def running_memory(model: nn.Module, *inputs: Any) -> RunningMemory:
    """Measure a model with torch's profiler.

    Args:
        model: in eval mode.
        inputs: of the model.
    """
    model(*inputs)  # what is made once and kept
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        outputs = model(*inputs)
    del outputs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]) for event in events if event["name"] == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change["Bytes"]
        peak = max(peak, held)
    return RunningMemory(tensor_bytes(model), peak)


def tensor_bytes(model: nn.Module) -> int:
    """Bytes of the tensors that a model holds, in whatever objects, each storage once.

    Args:
        model: float or packed.
    """
    storages: dict[int, int] = {}
    waiting: list[object] = [model]
    seen = {id(model)}
    while waiting:
        held = waiting.pop()
        if isinstance(held, Tensor):
            storage = held.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        for inner in gc.get_referents(held):
            if id(inner) not in seen and not isinstance(inner, CODE):
                seen.add(id(inner))
                waiting.append(inner)
    return sum(storages.values())


def memory_table(task: SpeechTask, weights: Path, files: Iterable[Path]) -> str:
    """Memory of the float model and of packed files, while they recognise a long utterance.

    Args:
        task: of the models.
        weights: of the float model.
        files: packed.
    """
    batch = max(islice(task.batches(0), task.steps_per_epoch()), key=lambda b: int(b.lengths[0]))
    frames, lengths = batch.frames[:1, : int(batch.lengths[0])], batch.lengths[:1]
    model = task.build_model().eval()
    load_weights(model, weights)
    float_memory = running_memory(model, frames, lengths)
    rows = [["float", *_cells(float_memory, float_memory)]]
    for file in files:
        packed = load_for_task(file, task, "cpu").eval()
        found = running_memory(packed, frames, lengths)
        rows.append([file.stem.removesuffix("-seed0"), *_cells(found, float_memory)])
    heard = f"forward pass of {frames.shape[1]} frames"
    return table_of(["plan", "model", heard, "both", "of float"], rows)


def _cells(found: RunningMemory, base: RunningMemory) -> list[str]:
    """The numbers of a row."""
    both, base_both = found.model + found.forward, base.model + base.forward
    sizes = (f"{each / 1e6:.2f} MB" for each in (found.model, found.forward, both))
    return [*sizes, f"{both / base_both:.1%}"]
