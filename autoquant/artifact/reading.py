"""Reading a packed file: it is verified as a whole before anything of it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autoquant.artifact import header, manifest, version2
from autoquant.artifact.checks import one_line
from autoquant.artifact.header import Header
from autoquant.errors import UserError, shown
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


def read(path: str | Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors of a packed file, checked.

    Args:
        path: a file that ``packed_file.save`` wrote, of this version or of version 2.

    Returns:
        the tensors by name; their memory may be the file itself, mapped into memory.

    Raises:
        UserError: the file is missing, truncated, altered or of another version.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"artifact must be the path of a packed file, got {shown(path)}")
    if not Path(path).is_file():
        raise UserError(f"artifact must be an existing packed file, got '{path}'")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"'{path}' must be a whole packed file, got: {one_line(error)}") from error
    version = metadata.get(header.VERSION_KEY)
    if version is None:
        raise UserError(f"'{path}' must be a file that autoquant packed, got another safetensors")
    try:
        if version == str(header.VERSION):
            return _read_version3(path, metadata, tensors)
        return version2.parse(version, tensors, _scheme), tensors
    except UserError as error:
        raise UserError(f"'{path}' {one_line(error)}") from error
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        message = one_line(error)
        raise UserError(f"'{path}' must have a readable header, got: {message}") from error


def _read_version3(
    path: str | Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[Header, dict[str, Tensor]]:
    """See ``read``.

    Args:
        path: of the file.
        metadata: the header's texts.
        tensors: of the file: one of bytes.
    """
    digest, plan_text = metadata[header.DIGEST_KEY], metadata[header.PLAN_KEY]
    model_text, data = metadata[header.MODEL_KEY], tensors[header.DATA]
    _check_whole(path, (digest, plan_text, model_text), data)
    content = header.decode_model(model_text, _scheme)
    network, scheme = content.network, content.scheme
    names = [norm.name for norm in manifest.norms_with_eps(network, scheme)]
    plan, eps = header.decode_plan(plan_text, network.names, names)
    grown = network.resized(plan)
    sliced, assets = _sliced(data, grown, plan, content)
    return (
        Header(plan, scheme, grown.sizes(), dict(zip(names, eps, strict=True)), assets, network),
        sliced,
    )


def _check_whole(path: str | Path, texts: tuple[str, str, str], data: Tensor) -> None:
    """Raise a UserError unless a file is, byte for byte, of its texts and data.

    Args:
        path: of the file.
        texts: digest, plan and model.
        data: bytes of the tensors and assets.
    """
    buffer = data.numpy().data if data.dtype == torch.uint8 and data.ndim == 1 else b""
    composed = header.compose(*texts, len(buffer))
    with Path(path).open("rb") as file:
        written = file.read(len(composed))
    blank = header.compose(header.BLANK, *texts[1:], len(buffer))
    if written != composed or header.digest_of(blank, buffer) != texts[0]:
        raise UserError("must be as it was written, got an altered file")


def _sliced(
    data: Tensor, network: Network, plan: Plan, content: header.ModelText
) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    """The tensors by name, without copying, and copies of the assets.

    Args:
        data: all bytes.
        network: at the plan's widths.
        plan: of the file.
        content: of its header.
    """
    entries = manifest.entries(network, plan, content.scheme)
    expected = sum(entry.bytes for entry in entries) + sum(content.assets.values())
    if expected != data.numel():
        raise ValueError(f"{data.numel()} bytes of tensors in place of {expected}")
    tensors, position = {}, 0
    for entry in entries:
        part = data[position : position + entry.bytes]
        if entry.dtype == "BOOL" and bool((part > 1).any()):
            raise ValueError("a truth value that is neither 0 nor 1")
        tensors[entry.name] = part.view(manifest.TORCH_TYPES[entry.dtype]).view(entry.shape)
        position += entry.bytes
    if len(tensors) != len(entries):
        raise ValueError("two tensors of one name")
    assets = {}
    for name, count in content.assets.items():
        assets[name] = data[position : position + count].numpy().tobytes()
        position += count
    return tensors, assets


def _scheme(values: Mapping[str, Any]) -> Scheme:
    """The scheme of a file, whose number format and scale rule a user's module may register.

    Args:
        values: of the scheme's fields.

    Raises:
        UserError: nothing of such a name is registered, or a value is refused.
    """
    try:
        return Scheme(**values)
    except UserError as error:
        raise UserError(
            "may need a module of yours that is not imported (AUTOQUANT_PLUGINS=mymodule imports "
            f"it): {error}"
        ) from error
