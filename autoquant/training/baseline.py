"""The float baseline of a study: trained once, or taken from elsewhere, then kept in the folder."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from tqdm import tqdm

from autoquant.errors import RunError, UserError
from autoquant.files import replacing
from autoquant.settings import Search
from autoquant.study.folder import Baseline, Study
from autoquant.task import Task
from autoquant.training.loop import Run, score, seed_everything, train

ALIKE = 1e-3  # relative difference of scores between machines
HALVES = (torch.float16, torch.bfloat16)


def float_model(task: Task, *, progress: bool = False) -> nn.Module:
    """A task's model, in float32 where it comes in half precision; its inputs may stay in that.

    Training adds up steps that half precision would round away.

    Args:
        progress: whether to say so.
    """
    model = task.build_model()
    half = _half(model.parameters())
    if half is None:
        return model
    if progress:
        tqdm.write(f"the model is in {half}: it is trained, and counted, in float32")
    model = copy.deepcopy(model)  # a task may build the same one again
    model._apply(_widened)  # type: ignore[no-untyped-call]
    model.register_forward_pre_hook(_widen_inputs, with_kwargs=True)
    return model


def _half(tensors: Iterable[Tensor]) -> str | None:
    """The name of the half precision that some of the tensors have."""
    found = next((each.dtype for each in tensors if each.dtype in HALVES), None)
    return None if found is None else str(found).removeprefix("torch.")


def _widened(value: Any) -> Any:
    """Half-precision tensors in float32, also inside tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALVES else value
    if type(value) in (tuple, list):
        return type(value)(map(_widened, value))
    return {k: _widened(v) for k, v in value.items()} if type(value) is dict else value


def _widen_inputs(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return _widened(args), _widened(kwargs)


def float_baseline(
    task: Task, settings: Search, study: Study, device: torch.device, *, progress: bool
) -> tuple[nn.Module, Baseline]:
    """The study's float model: read where it is there, else trained (resuming) and recorded.

    Raises:
        UserError: the model's file is not what it should be; or only its record is there (studies
            travel without weights), and the model made anew has another score.
    """
    seed_everything(settings.seed)
    model = float_model(task, progress=progress).to(device)
    recorded = study.baseline() if study.baseline_record.is_file() else None
    if recorded and study.baseline_file.is_file():
        load_weights(model, study.baseline_file)
        return model, recorded
    if settings.pretrained is not None:
        half = load_weights(model, weights_file(settings.pretrained))
        if half is not None and progress:
            tqdm.write(f"the weights in '{settings.pretrained}' are in {half}: made float32")
        started, run = time.monotonic(), Run()
    else:
        checkpoint = study.path / ".baseline.checkpoint"
        started = time.monotonic()
        run = train(
            model,
            task,
            settings.baseline,
            seed=settings.seed,
            label="float baseline",
            checkpoint=checkpoint,
            progress=progress,
        )
    size_bytes, parameters = measure(model)
    record = Baseline(
        score=score(model, task, "valid"),
        size_bytes=size_bytes,
        parameters=parameters,
        metric=task.metric,
        direction=task.direction,
        steps=run.steps,
        seconds=run.seconds or time.monotonic() - started,
        history=tuple(run.scores),
    )
    if recorded:
        _refuse_another(record, recorded, study)
        record = recorded
    save_weights(model, study.baseline_file)
    study.write_baseline(record)
    (study.path / ".baseline.checkpoint").unlink(missing_ok=True)
    return model, record


def _refuse_another(made: Baseline, recorded: Baseline, study: Study) -> None:
    if not math.isclose(made.score, recorded.score, rel_tol=ALIKE):
        raise UserError(
            f"the float model of study '{study.path}', whose weights are gone, must score "
            f"{recorded.score:.6g} when it is made anew, got {made.score:.6g}; take another study "
            "folder"
        )


def measure(model: nn.Module) -> tuple[int, int]:
    """Bytes of a float model's tensors, and its number of parameters."""
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return size, sum(p.numel() for p in model.parameters())


def weights_file(source: str | Path) -> Path:
    """The weights that ``pretrained`` names: a safetensors file, or a study's baseline."""
    path = Path(source)
    path = Study(path).baseline_file if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            "pretrained must be a safetensors file or a study with its float model's weights, "
            f"got '{source}'"
        )
    return path


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a float model's state."""
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()  # copies, for some may share memory
    }
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(to_bytes(state))
    except OSError as error:
        raise RunError(f"'{path}' could not be written: {error.strerror}") from error


def load_weights(model: nn.Module, path: Path) -> str | None:
    """Read a float model's state; the name of the half precision that the file has, if any.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' must be a safetensors file, got: {error}") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' must hold this task's model, got: {reason}") from error
    return _half(state.values())
