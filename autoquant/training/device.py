"""Where training runs: the device, its autocast, its memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autoquant.errors import UserError, shown
from autoquant.settings import Training


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be allocated, here or on an accelerator.

    Args:
        error: any exception.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


_NO_MEMORY = ("not enough memory", "DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
"""Parts of what torch and the libraries below it say; torch has no class for the CPU's memory."""


def release_memory() -> None:
    """Give back the memory of a training that has failed, whose models may refer to each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is the accelerator where there is one, else the CPU.

    Args:
        name: "auto", or a name that torch knows: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UserError: there is no such device here.
    """
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            available = ", ".join(["auto", "cpu", *_accelerators()])
            requirement = f"device must be one that torch has here ({available})"
            raise UserError(f"{requirement}, got {shown(name)}") from error
        return torch.device(name)
    return _accelerator() or torch.device("cpu")


def is_device_name(name: str) -> bool:
    """Whether torch knows a device of a name, here or elsewhere.

    Args:
        name: such as "cuda:1".
    """
    try:
        torch.device(name)
    except RuntimeError:
        return False
    return True


def _accelerator() -> torch.device | None:
    """The accelerator that is here, as torch 2.6 tells it too; None where there is none."""
    here = torch.accelerator.is_available()
    return torch.accelerator.current_accelerator() if here else None


def _accelerators() -> list[str]:
    """Names of the accelerators that are here: cuda, cuda:0, cuda:1, ..., or mps."""
    kind = _accelerator()
    if kind is None:
        return []
    count = torch.accelerator.device_count()
    return [kind.type, *(f"{kind.type}:{i}" for i in range(count) if kind.type != "mps")]


def check_autocast(settings: Training, device: torch.device) -> None:
    """Raise a UserError where a device cannot train under the autocast that is asked for.

    Args:
        settings: of the training.
        device: where it is to run.

    Raises:
        UserError: ``settings.autocast`` is float16 and the device is not a CUDA device.
    """
    if settings.autocast == "float16" and device.type != "cuda":
        raise UserError(
            "autocast=float16 must have a CUDA device (its gradients are scaled there), got "
            f"device={device}; take autocast=bfloat16 or none"
        )


@contextmanager
def autocast(dtype: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """Run the block under torch.autocast.

    Args:
        dtype: torch.bfloat16 or torch.float16; None: without autocast.
        device: of the model.
    """
    if dtype is None:
        yield
        return
    with _without_onednn(device), torch.autocast(device.type, dtype):
        yield


@contextmanager
def _without_onednn(device: torch.device) -> Iterator[None]:
    """Switch oneDNN off where it lacks bfloat16: torch calls it for an LSTM all the same."""
    if device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        yield
        return
    library: Any = torch.backends.mkldnn
    before, library.enabled = library.enabled, False
    try:
        yield
    finally:
        library.enabled = before
