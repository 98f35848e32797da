"""The float model of a task: its precision and its size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.graph.plain_modules import notes_of
from autoquant.progress import SILENT, Progress
from autoquant.seeds import seed_everything
from autoquant.task import Task

HALF_PRECISIONS = (torch.float16, torch.bfloat16)


def build_float_model(task: Task, progress: Progress = SILENT) -> nn.Module:
    """A task's model, in float32 where it comes in half precision; its inputs may stay in that.

    Training adds up updates that half precision would round away.

    Args:
        task: builds the model.
        progress: is told where quantized plans, or the precision, differ from what the task built.
    """
    model = task.build_model()
    for line in notes_of(model):
        progress.say(line)
    half = half_precision_of(model.parameters())
    if half is None:
        return model
    progress.say(f"the model is in {half}: it is trained, and counted, in float32")
    model = copy_model(model)  # a task may build the same one again
    model._apply(_to_float32)  # type: ignore[no-untyped-call]
    model.register_forward_pre_hook(_inputs_to_float32, with_kwargs=True)
    return model


def half_precision_of(tensors: Iterable[Tensor]) -> str | None:
    """The name of the first half precision among some tensors, or None.

    Args:
        tensors: of a model or of a file.
    """
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
