"""Runs an exported model in ONNX Runtime.

ONNX Runtime copies each weight into the order in which it is read and frees the original; glibc
keeps what is freed, which is as much as the largest weight, or more. ``malloc_trim(0)`` after
loading gives it back, and steps take as long as before. So does the variable
``MALLOC_TRIM_THRESHOLD_=65536`` in programs that cannot call it, but then graphs with weights of 2
bits, which each run decodes, may take twice as long. ``session.disable_prepacking`` saves
these copies too, but then each run decodes weights of 4 bits as well.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

from autoquant.exports.onnx.requirements import require
from autoquant.exports.written import Arrays


class Session:
    """An ONNX model in ONNX Runtime on the CPU.

    Args:
        model: path of the model, or its bytes.
        threads: that one operator may use.
    """

    def __init__(self, model: Path | bytes, threads: int = 1) -> None:
        (runtime,) = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        given = model if isinstance(model, bytes) else str(model)
        providers = ["CPUExecutionProvider"]
        self.session: Any = runtime.InferenceSession(given, options, providers=providers)
        give_back()
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, feeds: Arrays) -> Arrays:
        """See ``Runner.__call__``."""
        results = self.session.run(None, dict(feeds))
        return dict(zip(self.outputs, results, strict=True))


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
