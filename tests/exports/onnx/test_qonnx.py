from __future__ import annotations

from pathlib import Path

import pytest

import autoquant as aq
from autoquant.plan import Bits
from autoquant.settings import Scheme
from tests.exports.models import packed

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("name", "weights", "grid"),
    [
        ("convolutions", 3, "midrise"),
        pytest.param("encoder", 1.6, "auto", marks=pytest.mark.slow),
        ("spotter", 7, "midtread"),
    ],
)
def test_any_bits_are_exact(tmp_path: Path, name: str, weights: Bits, grid: str) -> None:
    made = packed(tmp_path, name, weights, scheme=Scheme(grid=grid))
    result = aq.export(made.path, made.pair.build(), format="qonnx", example=made.example)
    assert result.difference.largest < 1e-5
    nodes = [node for node in onnx.load(result.files[0]).graph.node if node.op_type == "Quant"]
    assert {node.domain for node in nodes} == {"qonnx.custom_op.general"}


def test_midrise_levels_have_half_a_zero(tmp_path: Path) -> None:
    made = packed(tmp_path, "convolutions", 2)
    result = aq.export(made.path, made.pair.build(), format="qonnx", example=made.example)
    graph = onnx.load(result.files[0]).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quants = [node for node in graph.node if node.op_type == "Quant"]
    zeros = {float(values[node.input[2]]) for node in quants if node.input[0] in values}
    assert zeros == {-0.5}


@pytest.mark.slow
def test_qonnx_executes_it(tmp_path: Path) -> None:
    pytest.importorskip("qonnx")
    import numpy as np
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    made = packed(tmp_path, "convolutions", 3)
    result = aq.export(made.path, made.pair.build(), format="qonnx", example=made.example)
    model, images = ModelWrapper(str(result.files[0])), made.example.inputs[0].numpy()
    model.set_tensor_shape("images", list(images.shape))
    model.set_tensor_shape("output", [2, 10])
    given = execute_onnx(model.transform(InferShapes()), {"images": images})["output"]
    expected = made.pair.loaded(made.example.inputs[0]).detach().numpy()
    assert np.abs(given - expected).max() < 1e-5 * np.abs(expected).max()
