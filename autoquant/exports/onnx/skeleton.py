"""From a recorded program to an ONNX model whose quantized layers are nodes that name them.

torch's own exporter translates all other operators.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from functools import cache
from typing import Any

import torch

from autoquant.errors import UserError, first_line
from autoquant.exports.markers import LINEAR, ROUNDING, STACK, TABLE
from autoquant.exports.onnx.requirements import require
from autoquant.exports.recording import Recording

DOMAIN = "autoquant"
"""Of the nodes that stand for layers."""
OPSET = 21
"""The first one with integers of 4 bits."""


def skeleton(recording: Recording) -> Any:
    """An ONNX model, an ``onnx.ModelProto``.

    Args:
        recording: of the model.

    Raises:
        UserError: torch's exporter has no translation of an operator.
    """
    require("onnx", "onnxscript")
    inputs = [port.name for port in recording.inputs]
    inputs += [state.port.name for state in recording.states]
    outputs = [port.name for port in recording.outputs]
    outputs += [state.next_name for state in recording.states]
    try:
        with _quiet():
            exported: Any = torch.onnx.export(
                recording.program,
                dynamo=True,
                custom_translation_table=_translations(),
                opset_version=OPSET,
                optimize=False,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UserError(
            f"a model must be one that torch.onnx.export translates, got {first_line(cause)}"
        ) from error
    return _optimized(exported.model)


def _optimized(model: Any) -> Any:
    """The model without what the translation leaves over: computed constants.

    No nodes are fused: a batch norm would change the weight of a convolution, whose codes are
    known.

    Args:
        model: an intermediate representation of onnxscript.
    """
    from onnxscript import ir, optimizer

    with _quiet():
        optimizer.fold_constants(model, onnx_shape_inference=False)
        optimizer.remove_unused_nodes(model)
    return ir.to_proto(model)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's progress and warnings from the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        hidden = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(hidden),
            contextlib.redirect_stderr(hidden),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@cache
def _translations() -> dict[Any, Any]:
    """For each marked operator a function that makes its node."""
    from onnxscript import values

    _register()
    nodes = values.Opset(DOMAIN, 1)

    def linear(inputs: Any, name: str, units: int) -> Any:
        return nodes.linear(inputs, name=name, units=units)

    def table(indices: Any, name: str, units: int) -> Any:
        return nodes.table(indices, name=name, units=units)

    def rounding(inputs: Any, scale: float, qmin: int, qmax: int, bits: int) -> Any:
        return nodes.rounding(inputs, scale=scale, qmin=qmin, qmax=qmax, bits=bits)

    def stack(inputs: Any, h: Any, c: Any, name: str, units: int) -> Any:
        return nodes.stack(inputs, h, c, name=name, units=units)

    operators: Any = torch.ops.autoquant_export
    functions = {LINEAR: linear, TABLE: table, ROUNDING: rounding, STACK: stack}
    return {getattr(operators, name).default: function for name, function in functions.items()}


def _register() -> None:
    """Let onnx know the nodes that stand for layers."""
    from onnx.defs import OpSchema, register_schema

    parameter, options = OpSchema.FormalParameter, OpSchema.FormalParameterOption
    kinds = OpSchema.AttrType
    named = {"name": kinds.STRING, "units": kinds.INT}
    rounding = {"scale": kinds.FLOAT, "qmin": kinds.INT, "qmax": kinds.INT, "bits": kinds.INT}
    schemas = {
        LINEAR: (("inputs",), ("outputs",), named),
        TABLE: (("indices",), ("outputs",), named),
        ROUNDING: (("inputs",), ("outputs",), rounding),
        STACK: (("inputs", "h", "c"), ("outputs", "last_h", "last_c"), named),
    }
    for name, (inputs, outputs, attributes) in schemas.items():
        register_schema(
            OpSchema(
                name,
                DOMAIN,
                1,
                inputs=[
                    parameter(
                        each,
                        "T",
                        param_option=options.Optional if each == "c" else options.Single,
                    )
                    for each in inputs
                ],
                outputs=[parameter(each, "U") for each in outputs],
                type_constraints=[
                    ("T", ["tensor(float)", "tensor(int32)", "tensor(int64)"], ""),
                    ("U", ["tensor(float)"], ""),
                ],
                attributes=[OpSchema.Attribute(key, kind, "") for key, kind in attributes.items()],
            )
        )
