"""Memory while a model runs: its own tensors, and the most that a forward pass allocates."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from autoquant.artifact.task_model import load_for_task
from autoquant.tasks.speech.speech_task import SpeechTask
from autoquant.training.weights import load_weights
from studies.markdown import table_of


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
    """Bytes of the tensors that a model's modules hold, each storage once.

    Args:
        model: float or packed.
    """
    storages: dict[int, int] = {}
    for module in model.modules():
        for tensor in _tensors(vars(module)):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors inside containers; those of other modules are left out."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def memory_table(task: SpeechTask, weights: Path, files: Iterable[Path]) -> str:
    """Memory of the float model and of packed files, while they recognise one utterance.

    Args:
        task: of the models.
        weights: of the float model.
        files: packed.
    """
    frames, lengths = (each[:1] for each in task.example().inputs)
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
