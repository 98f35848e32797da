"""OpenVINO loads graphs without tables, and computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import autoquant as aq
from autoquant.exports.onnx.files import example_feeds
from autoquant.plan import Bits
from tests.exports.models import packed

pytestmark = pytest.mark.slow
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
"""Without these OpenVINO rounds activations again, in groups."""


@pytest.mark.parametrize("weights", [4, 8])
@pytest.mark.parametrize("name", ["spotter", "both ways", "convolutions"])
def test_equal_to_onnx_runtime(tmp_path: Path, name: str, weights: Bits) -> None:
    openvino = pytest.importorskip("openvino")
    made = packed(tmp_path, name, weights)
    result = aq.export(made.path, made.pair.build(), example=made.example)
    feeds = example_feeds(result.written.recording)
    core = openvino.Core()
    model = core.compile_model(core.read_model(str(result.files[0])), "CPU", EXACT)
    assert result.written.runner is not None
    expected = result.written.runner(feeds)["output"]
    given = model(dict(feeds))[model.output("output")]
    assert np.abs(given - expected).max() < 1e-5 * np.abs(expected).max()
