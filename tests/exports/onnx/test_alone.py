"""An exported model runs where only onnxruntime and numpy are installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import autoquant as aq
from tests.exports.models import packed

pytest.importorskip("onnxruntime")
ALLOWED = ("numpy", "numpy.libs", "onnxruntime", "flatbuffers", "google", "packaging")
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import onnxruntime

for name in ("autoquant", "torch", "onnx"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} can be imported")
session = onnxruntime.InferenceSession(sys.argv[2])
frames, state = np.load(sys.argv[3]), np.zeros((2, 1, 24), np.float32)
for frame in frames:  # one time step after the other
    output, state = session.run(None, {"frames": frame[None, None], "rnn.h": state})
np.save(sys.argv[4], output)
"""


def test_steps_without_autoquant(tmp_path: Path) -> None:
    made = packed(tmp_path / "model", "spotter")
    result = aq.export(made.path, made.pair.build(), example=made.example)
    frames = made.example.inputs[0][:1]
    np.save(tmp_path / "frames.npy", frames[0].numpy())
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    spec = find_spec("onnxruntime")
    assert spec is not None
    installed = Path(str(spec.origin)).parents[1]
    for name in ALLOWED:
        if (installed / name).exists():
            (libraries / name).symlink_to(installed / name)
    output = tmp_path / "output.npy"
    arguments = [libraries, result.files[1], tmp_path / "frames.npy", output]
    command = [sys.executable, "-S", "-I", "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = made.pair.loaded(frames).numpy()
    assert np.abs(np.load(output) - expected).max() < 1e-4 * np.abs(expected).max()
