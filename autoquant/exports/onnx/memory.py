"""Memory of an ONNX model in ONNX Runtime, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import RunError

_PROGRAM = """
import ctypes, json, sys
import numpy as np
import onnxruntime as ort

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))

path, feed, trim = sys.argv[1:]
feeds = dict(np.load(feed))
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
empty = ort.InferenceSession(bytes.fromhex(sys.stdin.read()), options)
empty.run(None, {"x": np.zeros(1, np.float32)})
before, files = status("VmRSS"), status("RssFile")
session = ort.InferenceSession(path, options)
if trim == "trim":
    getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)
for _ in range(3):
    session.run(None, feeds)
code = status("RssFile") - files
print(json.dumps([before, status("VmRSS"), status("VmHWM"), code]))
"""


@dataclass(frozen=True)
class SessionMemory:
    """Bytes of a process with a session.

    Attributes:
        empty: before the model was loaded, with the session of an empty model.
        resident: after the model ran.
        peak: the most until then.
        trimmed: after the model ran in a session that gave back what loading had freed, see
            ``session.give_back``.
        code: of the growth, pages of the library's file, which processes share.
    """

    empty: int
    resident: int
    peak: int
    trimmed: int
    code: int


def session_memory(path: Path, feeds: Mapping[str, NDArray[np.generic]]) -> SessionMemory | None:
    """Load and run a model in a new process with one thread.

    Args:
        path: of the model.
        feeds: its inputs, by name.

    Returns:
        None on systems that do not tell (only Linux does).

    Raises:
        RunError: the process failed.
    """
    if not Path("/proc/self/status").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "feeds.npz"
        np.savez(inputs, **feeds)  # type: ignore[arg-type]
        empty, resident, peak, code = _measured(path, inputs, "keep")
        empty_again, trimmed, _, _ = _measured(path, inputs, "trim")
    return SessionMemory(empty, resident, peak, trimmed - empty_again + empty, code)


def _measured(path: Path, inputs: Path, trim: str) -> tuple[int, int, int, int]:
    """Bytes before the model was loaded, after it ran, the most, and growth that is code.

    Args:
        path: of the model.
        inputs: file of its inputs.
        trim: "trim" gives back what loading has freed; "keep" does not.
    """
    command = [sys.executable, "-c", _PROGRAM, str(path), str(inputs), trim]
    done = subprocess.run(command, input=_empty().hex(), capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"the exported model failed in ONNX Runtime: {lines[-1]}")
    before, after, most, code = json.loads(done.stdout)
    return before, after, most, code


def _empty() -> bytes:
    """A model that returns its input."""
    from onnx import helper

    entry, exit_ = (helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y"))
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "empty", [entry], [exit_])
    domain = helper.make_opsetid("", 21)
    data: bytes = helper.make_model(
        graph, opset_imports=[domain], ir_version=10
    ).SerializeToString()
    return data
