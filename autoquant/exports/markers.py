"""Marked models: each quantized layer is one operator, which names the layer.

A recorded program then shows where each layer is called, and nothing of how autoquant computes it.
The operators have shapes, no values: a marked model is recorded and never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.exports.layers import Layer, LinearLayer, StackLayer, TableLayer
from autoquant.exports.weights import Activation, Weight
from autoquant.kernels import State
from autoquant.layers.stack import Recurrent
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime import PackedEmbedding, PackedLinear

_LIBRARY: Any = torch.library.Library("autoquant_export", "DEF")  # type: ignore[no-untyped-call]

LINEAR, TABLE, STACK, ROUNDING = "linear", "table", "stack", "rounding"
"""Names of the operators in ``torch.ops.autoquant_export``."""


def _define(schema: str, shapes: Callable[..., Any]) -> None:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.register_fake(f"autoquant_export::{name}", shapes, lib=_LIBRARY)


def _linear(inputs: Tensor, name: str, units: int) -> Tensor:
    """Outputs of a linear layer.

    Args:
        inputs: [..., in].
        name: of the layer.
        units: of the output.
    """
    return inputs.new_empty(*inputs.shape[:-1], units)


def _table(indices: Tensor, name: str, units: int) -> Tensor:
    """Rows of a table.

    Args:
        indices: [...].
        name: of the layer.
        units: of a row.
    """
    return torch.empty(*indices.shape, units, device=indices.device)


def _stack(
    inputs: Tensor, h: Tensor, c: Tensor | None, name: str, units: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and last state of a stack.

    Args:
        inputs: [T, B, I].
        h: [L*D, B, W].
        c: of an LSTM.
        name: of the stack.
        units: of the output, D*W.
    """
    cells = inputs.new_empty(0) if c is None else torch.empty_like(c)
    return inputs.new_empty(*inputs.shape[:2], units), torch.empty_like(h), cells


def _rounding(inputs: Tensor, scale: float, qmin: int, qmax: int, bits: int) -> Tensor:
    """A rounded activation; see ``Activation``.

    Args:
        inputs: of any shape.
        scale: of the codes.
        qmin: the smallest code.
        qmax: the largest code.
        bits: of the activation.
    """
    return torch.empty_like(inputs)


_define("linear(Tensor inputs, str name, int units) -> Tensor", _linear)
_define("table(Tensor indices, str name, int units) -> Tensor", _table)
_define(
    "stack(Tensor inputs, Tensor h, Tensor? c, str name, int units) -> (Tensor, Tensor, Tensor)",
    _stack,
)
_define("rounding(Tensor inputs, float scale, int qmin, int qmax, int bits) -> Tensor", _rounding)


@dataclass
class StackCalls:
    """The states that go into and come out of recurrent stacks while a model is recorded.

    Attributes:
        given: for each stack the state that it starts from, where user code gives none.
        last: for each stack the state after its last step.
    """

    given: dict[str, State] = field(default_factory=dict)
    last: dict[str, State] = field(default_factory=dict)


def mark(model: nn.Module, layers: Mapping[str, Layer], calls: StackCalls) -> None:
    """Let the layers of a model call operators that name them.

    Args:
        model: a copy of a loaded model; changed in place.
        layers: of the model, by name.
        calls: gets the states of recurrent stacks.
    """
    modules: dict[str, Any] = dict(model.named_modules(remove_duplicate=False))
    for name, layer in layers.items():
        module = modules[name]
        if isinstance(layer, LinearLayer):
            _give_weight(module, layer.weight)
            module.forward = partial(_call_linear, layer)
        elif isinstance(layer, TableLayer):
            _give_weight(module, layer.table)
            module.forward = partial(_call_table, layer)
        else:
            assert isinstance(module, Recurrent)
            vars(module)["forward"] = partial(_call_stack, layer, module, calls)
    for module in modules.values():
        if isinstance(module, ActivationQuantizer):
            activation = Activation.of(module)
            assert activation is not None
            vars(module)["forward"] = partial(_call_rounding, activation)


def _give_weight(module: nn.Module, weight: Weight) -> None:
    """Let user code that reads a packed layer's weight find a parameter, not a decoding.

    Args:
        module: the layer; changed in place where it is packed.
        weight: of the layer.
    """
    plain = {PackedLinear: nn.Linear, PackedEmbedding: nn.Embedding}.get(type(module))
    if plain is not None:
        module.__class__ = plain
        values = torch.from_numpy(weight.values())
        module._parameters["weight"] = nn.Parameter(values, requires_grad=False)


def _call_linear(layer: LinearLayer, input: Tensor, units: Tensor | None = None) -> Tensor:
    """A linear layer's forward; see ``IntegerLinear.forward``.

    Args:
        layer: its values.
        input: see there.
        units: see there.
    """
    _check_features(layer.name, input, layer.weight.shape[1])
    outputs: Tensor = torch.ops.autoquant_export.linear(input, layer.name, layer.weight.shape[0])
    return outputs if units is None else outputs[..., units]


def _check_features(name: str, inputs: Tensor, features: int) -> None:
    """Raise a UserError for inputs of another width; a size that is recorded becomes fixed by it.

    Args:
        name: of the layer.
        inputs: of the layer.
        features: that it reads.
    """
    if inputs.shape[-1] != features:
        came = [*inputs.shape]
        raise UserError(f"inputs of {name} must have {features} features, got {came}")


def _call_table(layer: TableLayer, input: Tensor) -> Tensor:
    vectors: Tensor = torch.ops.autoquant_export.table(input, layer.name, layer.table.shape[1])
    return vectors


def _call_rounding(activation: Activation, values: Tensor) -> Tensor:
    grid = activation.grid
    arguments = activation.scale, grid.qmin, grid.qmax, activation.bits
    rounded: Tensor = torch.ops.autoquant_export.rounding(values, *arguments)
    return rounded


def _call_stack(
    layer: StackLayer, module: Recurrent, calls: StackCalls, input: Any, hx: Any = None
) -> tuple[Any, Any]:
    """A stack's forward; see ``Recurrent.forward``.

    Args:
        layer: the stack's values.
        module: the stack, for its layouts.
        calls: its states.
        input: see there.
        hx: see there.

    Raises:
        UserError: the inputs are packed sequences, or the stack is called twice.
    """
    if isinstance(input, PackedSequence):
        raise UserError(f"inputs of {layer.name} must be padded to be exported, got packed ones")
    if layer.name in calls.last:
        raise UserError(f"{layer.name} must be called once in a pass to be exported, got two calls")
    batched = input.ndim == 3
    rows = input if batched else input.unsqueeze(1)
    rows = rows.transpose(0, 1) if batched and module.batch_first else rows
    outputs, last = _run(layer, module, calls, rows, hx, batched=batched)
    outputs = outputs.transpose(0, 1) if batched and module.batch_first else outputs
    if not batched:
        outputs, last = outputs.squeeze(1), tuple(part.squeeze(1) for part in last)
    return outputs, module._state(last)


def _run(
    layer: StackLayer,
    module: Recurrent,
    calls: StackCalls,
    rows: Tensor,
    hx: Any,
    *,
    batched: bool,
) -> tuple[Tensor, State]:
    """Outputs and last state of a stack.

    Args:
        layer: the stack's values.
        module: the stack.
        calls: its states.
        rows: inputs [T, B, I].
        hx: the state that user code gave, or None.
        batched: whether the state has a batch axis.
    """
    _check_features(layer.name, rows, layer.layers[0].directions[0].input.shape[1])
    state = calls.given.get(layer.name)
    if hx is not None:
        layout = module._layout()
        parts = layout.checked_parts(hx, *([rows.shape[1]] if batched else []))
        parts = parts if batched else tuple(part.unsqueeze(1) for part in parts)
        state = layout.join(layout.split(parts))
    if state is None:
        initial = (torch.from_numpy(layer.initial_state(k)) for k in range(len(layer.parts)))
        state = tuple(part[:, None].expand(-1, rows.shape[1], -1) for part in initial)
    for part in state:
        if part.shape[1] != rows.shape[1]:  # recorded, this makes one size of the two
            raise UserError(f"the state of {layer.name} must have the batch of its inputs")
    units = layer.directions * layer.layers[-1].units
    h, c = (*state, None)[:2]
    outputs, *last = torch.ops.autoquant_export.stack(rows, h, c, layer.name, units)
    calls.last[layer.name] = tuple(last[: len(state)])
    return outputs, calls.last[layer.name]
