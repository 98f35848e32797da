"""ONNX Runtime: models built operator by operator, in float32, dynamic int8 and 4 bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.case import Absent, Call
from benchmarks.peers import need

OPSET = 21
IR_VERSION = 10
MICROSOFT = "com.microsoft"


# --- models --------------------------------------------------------------------------------------


def export(module: nn.Module, path: Path) -> Path:
    """Write a Linear or an LSTM (one layer, one or two directions) as an ONNX model."""
    need("onnx")
    import onnx

    if not path.exists():
        onnx.save(_linear(module) if isinstance(module, nn.Linear) else _lstm(module), path)
    return path


def _linear(module: nn.Linear) -> Any:
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="product"),
        helper.make_node("Add", ["product", "bias"], ["y"], name="sum"),
    ]
    tensors = {"weight": module.weight.t(), "bias": module.bias}
    sizes = (["B", module.in_features], ["B", module.out_features])
    return _model(nodes, tensors, *sizes)


def _lstm(module: Any) -> Any:
    """An LSTM [T, B, I] -> [T, D, B, H], with the output transposed to torch's [T, B, D*H]."""
    from onnx import helper

    directions = 2 if module.bidirectional else 1
    direction = "bidirectional" if module.bidirectional else "forward"
    units = module.hidden_size
    nodes = [
        helper.make_node(
            "LSTM", ["x", "w", "r", "b"], ["h"], name="lstm", hidden_size=units, direction=direction
        ),
        helper.make_node("Transpose", ["h"], ["t"], name="transpose", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["y"], name="reshape"),
    ]
    tensors = _gates(module, directions) | {"shape": torch.tensor([0, 0, -1])}
    sizes = (["T", "B", module.input_size], ["T", "B", directions * units])
    return _model(nodes, tensors, *sizes)


def _gates(module: Any, directions: int) -> dict[str, Tensor]:
    """torch's weights in ONNX's order of gates: i, o, f, c for torch's i, f, g, o."""

    def ordered(name: str) -> Tensor:
        i, f, g, o = getattr(module, name).chunk(4)
        return torch.cat([i, o, f, g])

    suffixes = ("_l0", "_l0_reverse")[:directions]
    return {
        "w": torch.stack([ordered(f"weight_ih{suffix}") for suffix in suffixes]),
        "r": torch.stack([ordered(f"weight_hh{suffix}") for suffix in suffixes]),
        "b": torch.stack(
            [
                torch.cat([ordered(f"bias_ih{suffix}"), ordered(f"bias_hh{suffix}")])
                for suffix in suffixes
            ]
        ),
    }


def _model(nodes: Sequence[Any], tensors: dict[str, Tensor], x: list[Any], y: list[Any]) -> Any:
    """A checked model of one graph.

    Args:
        nodes: operators in order.
        tensors: the constants by name.
        x: shape of the input.
        y: shape of the output.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    checker.check_model(model)
    return model


# --- quantization --------------------------------------------------------------------------------


def dynamic_int8(module: nn.Module, folder: Path) -> Path:
    """Dynamic quantization of weights to int8.

    Raises:
        Absent: ONNX Runtime left the operator in float.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "int8.onnx"
    if not path.exists():
        logging.disable(logging.WARNING)  # advice to preprocess, which these models do not need
        try:
            source = export(module, folder / "float32.onnx")
            # Without VNNI 8-bit weights saturate to wrong results; 7-bit ones are as fast.
            narrow = not _has_dot_products()
            quantize_dynamic(source, path, weight_type=QuantType.QInt8, reduce_range=narrow)
        finally:
            logging.disable(logging.NOTSET)
        _refuse_float(path)
    return path


def _has_dot_products() -> bool:
    wanted = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    return bool(wanted & set(machine.instructions()))


def _refuse_float(path: Path) -> None:
    """Raise Absent where no operator of a model was quantized."""
    import onnx

    kinds = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    if not kinds & {"DynamicQuantizeLSTM", "MatMulInteger", "DynamicQuantizeMatMul"}:
        path.unlink()
        raise Absent(f"ONNX Runtime quantized nothing; the model has {', '.join(sorted(kinds))}")


def four_bits(module: nn.Linear, folder: Path, block: int, accuracy: int) -> Path:
    """A Linear as MatMulNBits.

    Args:
        module: the float layer.
        folder: for the file.
        block: weights of a row that share a scale.
        accuracy: 0 computes in float32, 4 on int8 activations.
    """
    need("onnx")
    import onnx
    from onnx import helper

    rows, columns = module.weight.shape
    codes, scales = _blockwise(module.weight.detach(), block)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scales", "", "", "bias"],
        ["y"],
        name="product",
        domain=MICROSOFT,
        K=columns,
        N=rows,
        bits=4,
        block_size=block,
        accuracy_level=accuracy,
    )
    tensors = {"codes": codes, "scales": scales, "bias": module.bias}
    path = folder / f"4-bit-{block}-{accuracy}.onnx"
    onnx.save(_model([node], tensors, ["B", columns], ["B", rows]), path)
    return path


def _blockwise(weight: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Symmetric 4-bit codes, two a byte, [N, K/block, block/2], and scales [N, K/block]."""
    blocks = weight.unflatten(1, (-1, block))
    scales = blocks.abs().amax(2, keepdim=True) / 7.5
    codes = (blocks / scales).round().add(8).clamp(0, 15).to(torch.uint8)
    return codes[..., 0::2] | (codes[..., 1::2] << 4), scales.squeeze(2)


# --- running -------------------------------------------------------------------------------------


def session(path: Path) -> Any:
    """A session on as many threads as torch has, whose idle threads do not spin."""
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runner(path: Path, inputs: Tensor) -> Call:
    """A call that runs a model on fixed inputs."""
    onnx_session = session(path)
    feed = {"x": np.ascontiguousarray(inputs.numpy())}
    return lambda: {"output": torch.from_numpy(onnx_session.run(None, feed)[0])}
