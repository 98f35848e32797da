"""Runs an exported model in ONNX Runtime."""

from __future__ import annotations

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
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, feeds: Arrays) -> Arrays:
        """See ``Runner.__call__``."""
        results = self.session.run(None, dict(feeds))
        return dict(zip(self.outputs, results, strict=True))
