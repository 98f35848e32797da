"""Recognising a task: the fingerprint of its data, its score and the float model's outputs."""

from __future__ import annotations

import hashlib
from dataclasses import is_dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.errors import Diverged, UserError
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.modes import modes_restored
from autoquant.graph.randomness import random_state_kept
from autoquant.seeds import seed_everything
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.task_fingerprint import TaskFingerprint, TensorsFingerprint
from autoquant.task import Example, Task
from autoquant.training.device import is_out_of_memory
from autoquant.training.scoring import score

BATCHES = 2
"""Training batches that are looked at."""
MEMBERS = 8
"""Members of each tensor of real numbers that are kept, evenly spaced."""
MAX_TENSORS = 16
"""Tensors of real numbers that are kept."""


def refuse_another_metric(task: Task, study: Study) -> None:
    """Raise a UserError where the scores of a study are of another metric than the task's.

    Args:
        task: that a study is to go on with.
        study: a new one, or one with a baseline.

    Raises:
        UserError: the metric or its direction differs.
    """
    if not study.baseline_record.is_file():
        return
    record = study.baseline()
    for name in ("metric", "direction"):
        before, now = getattr(record, name), getattr(task, name)
        if before != now:
            raise UserError(
                f"study '{study.path}' was made with {name}={before}, got {name}={now}; take that "
                f"{name} or another study folder"
            )


def fingerprint_of(task: Task, model: nn.Module, seed: int) -> TaskFingerprint:
    """The fingerprint of a task, without what differs from itself when it is computed twice.

    Args:
        task: gives batches, an example and a score.
        model: the float model, on its device.
        seed: of the batches.
    """
    first, second = (_fingerprint(task, model, seed, draw) for draw in (0, 1))
    return first.stable(second)


def refuse_another_task(
    task: Task,
    model: nn.Module,
    seed: int,
    record: BaselineRecord,
    study: Study,
    *,
    trained: bool = True,
) -> None:
    """Raise a UserError where a task is not the one that a study was made with.

    Args:
        task: that the study is to go on with.
        model: the study's float model, on its device.
        seed: of the study.
        record: of the float model; without a fingerprint in studies of earlier versions.
        study: named in the error.
        trained: whether the model has the weights that the record is of; else only the data are
            compared.

    Raises:
        UserError: the data, the score or the model's outputs differ.
    """
    recorded = record.fingerprint
    if recorded is not None and not trained:
        recorded = recorded.untrained
    if recorded is None or recorded.difference(_fingerprint(task, model, seed, 0)) is None:
        return
    difference = recorded.difference(fingerprint_of(task, model, seed))
    if difference is not None:
        raise UserError(
            f"study '{study.path}' was made with {difference}; take that task or another study "
            "folder"
        )


def data_difference(task: Task, seed: int, recorded: TaskFingerprint) -> str | None:
    """How the data that a task reads here differ from recorded ones, in words; None if they do not.

    Args:
        task: that another process uses as well.
        seed: of the study.
        recorded: fingerprint of the task there, without what is never twice the same.
    """
    with random_state_kept():
        seed_everything(0)
        steps, batches, arguments = _data(task, seed)
    here = TaskFingerprint(steps, _of_values(batches), _of_values(arguments))
    return recorded.untrained.difference(here)


def _data(task: Task, seed: int) -> tuple[int, list[Any], Any]:
    """Batches of an epoch, the first of them, and the inputs and keywords of the example.

    Args:
        task: gives batches and an example.
        seed: of the batches.
    """
    steps, batches = task.steps_per_epoch(), list(islice(task.batches(seed), BATCHES))
    example = task.example()
    arguments = (example.inputs, dict(example.keywords)) if example.keywords else example.inputs
    return steps, batches, arguments


def _fingerprint(task: Task, model: nn.Module, seed: int, draw: int) -> TaskFingerprint:
    """One fingerprint, of which parts may be different the next time.

    Args:
        task: gives batches, an example and a score.
        model: the float model.
        seed: of the batches.
        draw: seed of what the task draws without a seed of its own.
    """
    seed_everything(draw)
    steps, batches, arguments = _data(task, seed)
    example = task.example()
    try:
        probe = score(model, task, "probe")
    except Diverged:
        probe = None
    return TaskFingerprint(
        steps, _of_values(batches), _of_values(arguments), _of_outputs(model, example), probe
    )


@torch.no_grad()
def _of_outputs(model: nn.Module, example: Example) -> TensorsFingerprint | None:
    """The outputs in eval mode; None where the model cannot be called with a copy of the example.

    Args:
        model: the float model.
        example: of the task.
    """
    try:
        with modes_restored(model):
            inputs, keywords = ExampleRun(example.inputs, example.keywords).copies(model)
            return _of_values(model.eval()(*inputs, **keywords))
    except Exception as error:  # the fingerprint is not what the user asked for
        if is_out_of_memory(error):
            raise
        return None


def _of_values(tree: Any) -> TensorsFingerprint:
    """The fingerprint of nested values.

    Args:
        tree: tensors, arrays, numbers and texts in lists, tuples, mappings and dataclasses.
    """
    digest, values, real = hashlib.sha256(), list[float](), 0
    leaves, structure = pytree.tree_flatten(tree, is_leaf=_is_object)
    digest.update(str(structure).encode())
    for leaf in leaves:
        value = vars(leaf) if _is_object(leaf) else leaf
        if isinstance(value, dict):
            inner = _of_values(value)
            digest.update(inner.digest.encode())
            values += inner.values
            continue
        tensor = _as_tensor(value)
        if tensor is None:
            digest.update(_text_of(value).encode())
            continue
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.is_floating_point() or tensor.is_complex():
            values += _members(tensor) if real < MAX_TENSORS else []
            real += 1
        else:
            digest.update(tensor.numpy().tobytes())
    return TensorsFingerprint(digest.hexdigest(), tuple(values))


def _is_object(value: Any) -> bool:
    """Whether a value is a dataclass, which pytree does not look into."""
    return is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__")


def _as_tensor(value: Any) -> Tensor | None:
    """A tensor or an array in main memory; None for anything else.

    Args:
        value: a leaf.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.as_tensor(value.copy())
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor) or value.is_quantized or value.is_nested:
        return None
    if value.layout != torch.strided:
        return None
    return value.detach().cpu().resolve_conj().contiguous()


def _text_of(value: Any) -> str:
    """A leaf that is no tensor: plain values are compared, other objects only by their class."""
    plain = value is None or isinstance(value, bool | int | str | bytes)
    return repr(value) if plain else type(value).__qualname__


def _members(tensor: Tensor) -> list[float]:
    """The mean, the mean magnitude and some members of a tensor of real numbers."""
    flat = torch.view_as_real(tensor).flatten() if tensor.is_complex() else tensor.flatten()
    flat = flat.double()
    if not flat.numel():
        return []
    places = torch.linspace(0, len(flat) - 1, min(MEMBERS, len(flat))).long()
    return [float(flat.mean()), float(flat.abs().mean()), *flat[places].tolist()]
