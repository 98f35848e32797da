"""The float model of a task: its precision, its size and its weights on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.files import write_bytes
from autoquant.graph.plain_modules import notes_of
from autoquant.progress_bar import tqdm
from autoquant.study.folder import Study
from autoquant.task import Task
from autoquant.training.device import seed_everything

HALF_PRECISIONS = (torch.float16, torch.bfloat16)


def build_float_model(task: Task, *, progress: bool = False) -> nn.Module:
    """A task's model, in float32 where it comes in half precision; its inputs may stay in that.

    Training adds up updates that half precision would round away.

    Args:
        task: builds the model.
        progress: whether to print a line where quantized plans, or the precision, differ from what
            the task built.
    """
    model = task.build_model()
    if progress:
        for line in notes_of(model):
            tqdm.write(line)
    half = _half_precision_of(model.parameters())
    if half is None:
        return model
    if progress:
        tqdm.write(f"the model is in {half}: it is trained, and counted, in float32")
    model = copy_model(model)  # a task may build the same one again
    model._apply(_to_float32)  # type: ignore[no-untyped-call]
    model.register_forward_pre_hook(_inputs_to_float32, with_kwargs=True)
    return model


def _half_precision_of(tensors: Iterable[Tensor]) -> str | None:
    """The name of the first half precision among some tensors, or None."""
    dtype = next((tensor.dtype for tensor in tensors if tensor.dtype in HALF_PRECISIONS), None)
    return None if dtype is None else str(dtype).removeprefix("torch.")


def _to_float32(tree: Any) -> Any:
    """A tensor or nested tensors, those in half precision as float32."""
    return pytree.tree_map_only(
        Tensor, lambda value: value.float() if value.dtype in HALF_PRECISIONS else value, tree
    )


def _inputs_to_float32(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """A forward pre-hook.

    Args:
        module: the model; not used.
        args: of its forward pass.
        kwargs: of its forward pass.
    """
    return _to_float32(args), _to_float32(kwargs)


def check_new_weights(task: Task) -> None:
    """Raise a UserError where a task's model begins with the same weights at any seed.

    Args:
        task: whose model is built twice. One of which only a part is new is not refused.

    Raises:
        UserError: no weight differs: the model is an instance, or holds trained weights.
    """
    weights = []
    for seed in (0, 1):
        seed_everything(seed)
        weights.append([p for p in task.build_model().parameters() if _is_drawn(p)])
    pairs = list(zip(*weights, strict=False))
    if pairs and all(torch.equal(first, second) for first, second in pairs):
        raise UserError(
            "init_from=scratch must have a task that builds a model with new weights (from a "
            "function or a class, not from an instance), got the same weights at two seeds"
        )


def _is_drawn(parameter: Tensor) -> bool:
    """Whether a parameter looks like a weight that is drawn: it has axes and is not constant."""
    values = parameter.detach()
    matrix = values.is_floating_point() and values.ndim > 1 and values.numel() > 0
    return matrix and bool((values != values.flatten()[0]).any())


def measure_size(model: nn.Module) -> tuple[int, int]:
    """Size of a float model.

    Args:
        model: its buffers count in bytes, but not as parameters.

    Returns:
        bytes of the tensors of its state, and its number of parameters.
    """
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return size, sum(p.numel() for p in model.parameters())


# --- weights on disk -----------------------------------------------------------------------------


def weights_file(source: str | Path) -> Path:
    """The weights that ``pretrained`` names: a safetensors file, or a study's baseline.

    Args:
        source: the file, or the study's folder.

    Raises:
        UserError: there is no such file.
    """
    path = Path(source)
    path = Study(path).baseline_file if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            "pretrained must be a safetensors file or a study with its float model's weights, "
            f"got '{source}'"
        )
    return path


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a float model's state.

    Args:
        model: as for ``serialized``.
        path: of the safetensors file.

    Raises:
        RunError: the file cannot be written.
    """
    write_bytes(path, serialized(model))


def serialized(model: nn.Module) -> bytes:
    """A float model's state as a safetensors file.

    Args:
        model: shared tensors are written once for each of their names.
    """
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()  # copies, for some may share memory
    }
    return to_bytes(state)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Args:
        path: of the file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(model: nn.Module, path: Path) -> str | None:
    """Read a float model's state; of the names of a tied tensor, one is enough.

    Args:
        model: takes the state, in its own precision.
        path: of the safetensors file.

    Returns:
        the name of the half precision that the file has, if any.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' must be a safetensors file, got: {error}") from error
    try:
        model.load_state_dict(state | _tied_to(state, model))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' must hold this task's model, got: {reason}") from error
    return _half_precision_of(state.values())


def _tied_to(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Values of names that a file leaves out since another name of the same tensor is there.

    Args:
        state: of the file, as safetensors' ``save_model`` writes it.
        model: whose names share tensors.
    """
    places = {name: _place(value) for name, value in model.state_dict(keep_vars=True).items()}
    stored = {places[name]: value for name, value in state.items() if name in places}
    return {
        name: stored[place]
        for name, place in places.items()
        if name not in state and place in stored
    }


def _place(value: Any) -> tuple[Any, ...]:
    """What two tensors that are the same values in memory have in common."""
    if not isinstance(value, Tensor) or value.is_meta or not value.numel():
        return (id(value),)
    return value.device, value.data_ptr(), value.shape, value.stride(), value.dtype
