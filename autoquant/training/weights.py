"""Weights of a float model: in memory, in a file of safetensors or torch, or in another study."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from autoquant.errors import UserError, first_line, shortened
from autoquant.files import write_bytes
from autoquant.settings import Search
from autoquant.study.folder import Study
from autoquant.training.device import is_out_of_memory
from autoquant.training.float_model import half_precision_of

IN_MEMORY = "memory:"
"""What the text begins with that stands in a study for weights that were given in memory."""
SECTIONS = ("state_dict", "model_state_dict", "model", "weights")
"""Where checkpoints of training programs keep a model's state."""
Source = str | Path | Mapping[str, Any] | nn.Module
"""What ``pretrained`` may be."""


# --- writing --------------------------------------------------------------------------------------


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
    return _bytes_of(model.state_dict())


def _bytes_of(state: Mapping[str, Tensor]) -> bytes:
    """A state as a safetensors file; of copies, for some tensors may share memory."""
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    return to_bytes(copies)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Args:
        path: of the file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_settings(settings: Search) -> dict[str, Any]:
    """Settings as plain values, as a study keeps them; of weights in memory their digest.

    Args:
        settings: of a search or a sweep.
    """
    values = settings.to_dict()
    if settings.pretrained is not None and not isinstance(settings.pretrained, str):
        data = _bytes_of(_state_of(settings.pretrained))
        values["pretrained"] = IN_MEMORY + hashlib.sha256(data).hexdigest()[:16]
    return values


# --- reading --------------------------------------------------------------------------------------


def load_weights(model: nn.Module, source: Source) -> str | None:
    """Give a float model the weights of another one; of the names of a tied tensor, one is enough.

    A prefix that all names of the model have there (of DataParallel, torch.compile or Lightning)
    is left out; what is stored beside them is not read then.

    Args:
        model: takes the state, in its own precision.
        source: a module, a state_dict, a file of safetensors or of ``torch.save`` (a state_dict, or
            a checkpoint with one under a key of SECTIONS; loaded with ``weights_only``), or the
            folder of a study, for its float model.

    Returns:
        the name of the half precision that the weights have, if any.

    Raises:
        UserError: there is no such file, or it is damaged, or the weights are of another model.
    """
    state = _named_as(model, _state_of(source))
    try:
        model.load_state_dict({**state, **_tied_to(state, model)})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{_named(source)} must hold this task's model, got: {reason}") from error
    return half_precision_of(state.values())


def _named(source: Source) -> str:
    """What errors call the source of weights."""
    return f"'{source}'" if isinstance(source, str | Path) else "pretrained"


def _state_of(source: Source) -> Mapping[str, Tensor]:
    """The state that a source of weights holds."""
    if isinstance(source, nn.Module):
        return source.state_dict()
    if isinstance(source, Mapping):
        return _section(source, "pretrained")
    path = _file_of(source)
    return _read_torch(path) if _is_of_torch(path) else _read_safetensors(path)


def _file_of(source: str | Path) -> Path:
    """The file with the weights that a path names.

    Args:
        source: the file, or a study's folder.
    """
    if str(source).startswith(IN_MEMORY):
        raise UserError(
            "the weights of this study's float model were given in memory and its "
            f"baseline.safetensors is gone: restore that file, got '{source}'"
        )
    path = Path(source)
    path = Study(path).baseline_file if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            "pretrained must be a file of safetensors or torch, or a study with its float model's "
            f"weights, got '{source}'"
        )
    return path


def _is_of_torch(path: Path) -> bool:
    """Whether ``torch.save`` wrote a file: it is a ZIP archive, or in old versions a pickle."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(2) in (b"\x80\x02", b"\x80\x04")


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        requirement = f"'{path}' must be a file of safetensors or torch.save"
        raise UserError(f"{requirement}, got: {error}") from error


def _read_torch(path: Path) -> Mapping[str, Tensor]:
    """The state in a file of ``torch.save``; nothing but tensors and plain values is unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, any
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"'{path}' must hold weights that torch.load reads with weights_only=True (save "
            f"model.state_dict()), got: {_without_colours(first_line(error))}"
        ) from error
    return _section(content, f"'{path}'")


def _section(content: Any, name: str) -> Mapping[str, Tensor]:
    """The state in what was loaded: itself, or the part under a key of SECTIONS.

    Args:
        content: anything.
        name: of the source, for errors.
    """
    if isinstance(content, Mapping):
        if any(isinstance(value, Tensor) for value in content.values()):
            return content
        for key in SECTIONS:
            if isinstance(content.get(key), Mapping):
                return _section(content[key], name)
    keys = ", ".join(map(str, content))[:200] if isinstance(content, Mapping) else ""
    came = f"a {type(content).__name__} with the keys {keys or 'none'}"
    came = came if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise UserError(f"{name} must hold a state_dict, got {came}")


def _without_colours(text: str) -> str:
    """A text without the codes by which torch sets parts of it in bold."""
    return shortened(re.sub(r"\x1b\[[0-9;]*m", "", text), 200)


def _named_as(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The part of a state that has all names of a model behind a prefix; the state where none has.

    Args:
        model: that takes the state.
        state: by name.
    """
    own = model.state_dict().keys()
    if not own or own & state.keys():
        return state
    some = next(iter(own))
    for prefix in (name.removesuffix(some) for name in state if name.endswith(f".{some}")):
        if all(f"{prefix}{name}" in state for name in own):
            parts = {name: value for name, value in state.items() if name.startswith(prefix)}
            return {name.removeprefix(prefix): value for name, value in parts.items()}
    return state


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
