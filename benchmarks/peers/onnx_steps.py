"""ONNX Runtime's dynamic int8 of a float torch model: of one time step, or of a whole pass."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case import Absent
from benchmarks.peers import need

QUANTIZED = {"DynamicQuantizeLSTM", "MatMulInteger", "ConvInteger"}


class Step(nn.Module):
    """A recurrent model with its state as further arguments and results.

    Args:
        model: takes inputs and a state, and returns outputs and a state.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, last = self.model(inputs, state if len(state) > 1 else state[0])
        return (outputs, *(last if isinstance(last, tuple) else (last,)))


class GruProducts(nn.Module):
    """One step of a GRU as linear layers: ONNX Runtime has no quantized GRU.

    Args:
        rnn: of one direction.
    """

    def __init__(self, rnn: nn.GRU) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        values, last = inputs, []
        for number, h in enumerate(state.split(1)):
            names = [f"{kind}_{side}_l{number}" for side in ("ih", "hh") for kind in _KINDS]
            w_in, b_in, w_hid, b_hid = map(self.rnn.get_parameter, names)
            r_in, z_in, n_in = F.linear(values, w_in, b_in).chunk(3, -1)
            r_hid, z_hid, n_hid = F.linear(h, w_hid, b_hid).chunk(3, -1)
            update = torch.sigmoid(z_in + z_hid)
            candidate = torch.tanh(n_in + torch.sigmoid(r_in + r_hid) * n_hid)
            values = candidate + update * (h - candidate)
            last.append(values)
        return values, torch.cat(last)


_KINDS = ("weight", "bias")


def int8(module: nn.Module, arguments: tuple[Tensor, ...], path: Path) -> Path:
    """Export a module and quantize its weights to int8.

    Args:
        module: returns tensors.
        arguments: that it is called with.
        path: of the file.

    Raises:
        Absent: ONNX Runtime left all operators in float.
    """
    need("onnx", "onnxruntime", "onnxscript")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    floats = path.with_suffix(".float.onnx")
    with _quiet(), torch.no_grad():
        # The older exporter makes the weights of an LSTM constants; only such are quantized.
        whole = len(arguments) == 1
        torch.onnx.export(module, arguments, floats, dynamo=whole, verbose=False)
        quantize_dynamic(floats, path, weight_type=QuantType.QInt8)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    if not kinds & QUANTIZED:
        raise Absent(f"ONNX Runtime quantized nothing; the model has {', '.join(sorted(kinds))}")
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages of exporter and quantizer."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def start(rnn: Any) -> tuple[Tensor, ...]:
    """The initial state of an LSTM or a GRU, for a batch of one."""
    parts = 2 if isinstance(rnn, nn.LSTM) else 1
    return tuple(torch.zeros(rnn.num_layers, 1, rnn.hidden_size) for _ in range(parts))
