"""The fresh process of group ``memory``: load a model and print its resident memory. Linux only.

``python -m benchmarks.probe KIND THREADS UNITS=SMALL_FILE UNITS=FILE`` prints resident megabytes
before, with the model loaded, and after it ran. The small file is loaded first, so that everything
that does not depend on the model is imported and allocated.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.case import Call

STEPS = 35
"""Time steps of the sequence that the model runs on."""


def resident() -> float:
    """Resident memory of this process in MB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status must have VmRSS")


def _empty(units: int) -> nn.Module:
    return nn.LSTM(units, units, bidirectional=True).eval()


def _torch(path: Path, units: int) -> Callable[[Tensor], Any]:
    module = _empty(units)
    module.load_state_dict(load_file(path))
    return module


def _autoquant(path: Path, units: int) -> Callable[[Tensor], Any]:
    import autoquant

    return autoquant.load(path, _empty(units))


def _onnx(path: Path, units: int) -> Callable[[Tensor], Any]:
    from benchmarks.peers.onnx import session

    onnx_session = session(path)
    return lambda inputs: onnx_session.run(None, {"x": inputs.numpy()})


LOADERS = {"torch": _torch, "autoquant": _autoquant, "onnx": _onnx}


def _load(loader: str, file: str) -> tuple[Call, Callable[[Tensor], Any]]:
    """A call that runs a model, and the model."""
    units, path = file.split("=", 1)
    model = LOADERS[loader](Path(path), int(units))
    inputs = torch.randn(STEPS, 1, int(units))
    return lambda: model(inputs), model


def main() -> None:
    loader, threads, small, file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        run_small, _ = _load(loader, small)
        run_small()
        numbers = [resident()]
        run, _ = _load(loader, file)
        numbers.append(resident())
        run()
        numbers.append(resident())
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
