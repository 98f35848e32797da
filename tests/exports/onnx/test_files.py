"""ONNX files against the loaded model, in ONNX Runtime.

Tolerance: 1e-4 of the largest output; hidden codes must be equal (float sums in another order may
flip a tie, which these seeds do not have).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autoquant as aq
from autoquant.exports.onnx.files import example_feeds
from autoquant.exports.onnx.session import Session
from autoquant.plan import Bits
from autoquant.settings import Scheme
from tests.exports.models import BUILDS, Packed, packed

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
EXACT = 1e-4


class Exports:
    """Exports of the models, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, tuple[Packed, aq.Exported]] = {}

    def __call__(
        self, name: str, *bits: Any, prefer: str = "speed", **widths: float
    ) -> tuple[Packed, aq.Exported]:
        key = f"{name} {bits} {prefer} {widths}"
        if key not in self.made:
            made = packed(self.folder / f"{len(self.made)}", name, *bits, **widths)
            options = {"example": made.example, "prefer": prefer}
            self.made[key] = made, aq.export(made.path, made.pair.build(), **options)
        return self.made[key]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


def operators(path: Path) -> set[str]:
    """Of the graph and of its subgraphs."""
    found: set[str] = set()

    def visit(graph: Any) -> None:
        for node in graph.node:
            found.add(node.op_type)
            for attribute in node.attribute:
                visit(attribute.g)

    visit(onnx.load(path).graph)
    return found


SLOW = ("both ways", "mean", "language gru", "cell loop", "weight that is read")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BUILDS],
)
def test_models(exports: Exports, name: str) -> None:
    _, result = exports(name)
    assert result.difference.largest < EXACT
    assert result.difference.codes == 0


@pytest.mark.parametrize(
    ("weights", "activations", "hidden", "scheme"),
    [
        (1.6, 4, 5, None),
        pytest.param(2, 7, 8, Scheme(granularity="tensor"), marks=pytest.mark.slow),
        (3, 16, 16, None),
        pytest.param(6, 8, 8, Scheme(grid="midrise"), marks=pytest.mark.slow),
        (8, 8, 4, Scheme(grid="midrise")),
        pytest.param(5, 32, 32, None, marks=pytest.mark.slow),
        pytest.param(16, 8, 8, None, marks=pytest.mark.slow),
    ],
)
def test_bits(
    exports: Exports, weights: Bits, activations: int, hidden: int, scheme: Scheme | None
) -> None:
    _, result = exports("language", weights, activations, hidden, scheme)
    assert result.difference.largest < EXACT
    assert result.difference.codes == 0


def test_layers_of_different_widths(exports: Exports) -> None:
    _, result = exports("language", rnn__l1=1.5)
    assert result.difference.largest < EXACT


@pytest.mark.skipif(
    onnxruntime.__version__.startswith("1.23."),
    reason="tables of 2 bits need a newer ONNX Runtime",
)
def test_a_small_file_keeps_two_bits(exports: Exports) -> None:
    fast, small = (exports("language gru", 2, prefer=each)[1] for each in ("speed", "size"))
    assert {each.kind for each in fast.written.stored} == {"int4"}
    assert {each.kind for each in small.written.stored} == {"int2"}
    assert small.difference.largest < EXACT


def test_weights_stay_packed_in_the_step_graph(exports: Exports) -> None:
    _, result = exports("language")
    step = operators(result.files[1])
    assert {"MatMulNBits", "GatherBlockQuantized", "QuantizeLinear", "DequantizeLinear"} <= step
    assert not step & {"MatMul", "Gemm", "Scan", "LSTM"}
    assert "Scan" in operators(result.files[0])


def test_onnx_has_the_lstm_where_no_hidden_state_is_quantized(exports: Exports) -> None:
    _, result = exports("language", 4, 8, 32)
    assert "LSTM" in operators(result.files[0])
    assert "MatMulNBits" in operators(result.files[1])


def test_steps_give_the_sequence(exports: Exports) -> None:
    _, result = exports("language")
    recording, step = result.written.recording, Session(result.files[1])
    feeds = dict(example_feeds(recording))
    tokens, outputs = feeds["tokens"], []
    for at in range(len(tokens)):
        given = step({**feeds, "tokens": tokens[at : at + 1]})
        outputs.append(given["output"])
        feeds |= {s.port.name: given[s.next_name] for s in recording.states}
    with torch.no_grad():
        expected = recording.source.model(torch.from_numpy(tokens))[0].numpy()
    assert np.abs(np.concatenate(outputs) - expected).max() < EXACT * np.abs(expected).max()


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (4, 5)])
def test_any_batch_and_time(exports: Exports, steps: int, batch: int) -> None:
    made, result = exports("spotter")
    frames = torch.randn(batch, steps, 13, generator=torch.Generator().manual_seed(0))
    state = np.zeros((2, batch, 24), np.float32)
    given = Session(result.files[0])({"frames": frames.numpy(), "rnn.h": state})["output"]
    with torch.no_grad():
        expected = made.pair.loaded(frames).numpy()
    assert np.abs(given - expected).max() < EXACT * np.abs(expected).max()


def test_metadata_and_names(exports: Exports) -> None:
    _, result = exports("spotter")
    model = onnx.load(result.files[0])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["autoquant_version"] == aq.__version__
    assert "rnn.l0" in metadata["autoquant_plan"]
    axes = [
        axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert axes == ["batch", "time", 13]
    assert "rnn.l0.weight" in {tensor.name for tensor in model.graph.initializer}


def test_the_table_has_measured_memory(exports: Exports) -> None:
    text = str(exports("language gru", 4, 8)[1])
    for part in (
        "packed file",
        "packed.step.onnx",
        "resident",
        "time of a step",
        "difference",
        "GatherBlockQuantized",
    ):
        assert part in text


def test_sizes_that_are_stored_are_those_that_are_told(exports: Exports) -> None:
    _, result = exports("language gru")
    told = sum(each.bytes for each in result.written.stored)
    held = sum(len(tensor.raw_data) for tensor in onnx.load(result.files[0]).graph.initializer)
    biases = 4 * (3 * 24 + 24 + 50)
    assert told < held < told + biases + 100
