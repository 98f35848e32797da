"""From autoquant's recurrent stacks and cells to torch's modules, with the decoded weights.

Layers of a torch module have one width. Those of a stack may differ, once it has grown: then all
get the width W of the widest. A unit whose weights and biases are all zero stays at zero in each of
torch's cells, so that outputs and states are those of the stack, whose states are padded with zeros
too. Where the last layer is a narrow one, its new units are left out of the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.kernels import Cell
from autoquant.layers.recurrent import (
    PROJECTION,
    RAW,
    SUFFIXES,
    RecurrentLayer,
    torch_weight,
)
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent


class _NarrowOutputs(nn.Module):
    """A stack of torch whose outputs are the first units of each direction.

    Attributes:
        output_size: how many of them.
    """

    hidden_size: int
    proj_size: int
    bidirectional: bool
    output_size: int

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """See nn.LSTM, nn.GRU and nn.RNN.

        Args:
            input: as there.
            hx: as there.

        Returns:
            outputs of the width D*output_size, and the state with all units.
        """
        outputs, state = super().forward(input, hx)
        if isinstance(outputs, PackedSequence):
            return PackedSequence(self._narrow(outputs.data), *outputs[1:]), state
        return self._narrow(outputs), state

    def _narrow(self, outputs: Tensor) -> Tensor:
        directions = 2 if self.bidirectional else 1
        width = self.proj_size or self.hidden_size
        parts = outputs.reshape(*outputs.shape[:-1], directions, width)
        return parts[..., : self.output_size].flatten(-2)


class NarrowLSTM(_NarrowOutputs, nn.LSTM):
    """An nn.LSTM whose last layer is narrower than another one."""


class NarrowGRU(_NarrowOutputs, nn.GRU):
    """An nn.GRU whose last layer is narrower than another one."""


class NarrowRNN(_NarrowOutputs, nn.RNN):
    """An nn.RNN whose last layer is narrower than another one."""


_STACKS: dict[str, tuple[Any, Any]] = {
    "lstm": (nn.LSTM, NarrowLSTM),
    "gru": (nn.GRU, NarrowGRU),
    "rnn": (nn.RNN, NarrowRNN),
}
_CELLS: dict[str, Any] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


@torch.no_grad()
def torch_stack(name: str, stack: Recurrent) -> nn.RNNBase:
    """A torch module that computes what a stack does without its quantizers.

    Args:
        name: of the stack in the model, for the error.
        stack: whose weights may be packed; it is left as it is.

    Raises:
        UserError: torch has no such cell, or no such initial state.
    """
    layers = stack.layers
    for i, layer in enumerate(layers):
        _check_known(f"{name}.l{i}".lstrip("."), layer)
    width = max(layer.units for layer in layers)
    kind, options = _kind(layers[0].cell)
    plain, narrow = _STACKS[kind]
    options |= {"bias": stack.bias, "batch_first": stack.batch_first}
    cells = max(layer.hidden_size for layer in layers)
    if layers[0].proj_size:
        options["proj_size"] = width
        cells = max(cells, width + 1)  # torch has no projection to more units than that
    weight = layers[0].weight_ih
    built: nn.RNNBase = (narrow if layers[-1].units < width else plain)(
        layers[0].input_size,
        cells,
        len(layers),
        bidirectional=stack.bidirectional,
        dtype=weight.dtype,
        device="meta",  # without drawing random numbers
        **options,
    ).to_empty(device=weight.device)
    built.dropout = stack.dropout
    if layers[-1].units < width:
        built.output_size = layers[-1].units
    for i, layer in enumerate(layers):
        for suffix in SUFFIXES[: layer.directions]:
            _fill(built, f"_l{i}{suffix}", layer, suffix, layer.directions if i else 1)
    _keep_raw(built, stack._raw)
    return built.train(stack.training)


@torch.no_grad()
def torch_cell(name: str, cell: RecurrentCell) -> nn.RNNCellBase:
    """A torch module that computes what a cell does without its quantizers.

    Args:
        name: of the cell in the model, for the error.
        cell: it is left as it is.

    Raises:
        UserError: torch has no such cell, or no such initial state.
    """
    _check_known(name, cell)
    kind, options = _kind(cell.cell)
    weight = cell.weight_ih
    built: nn.RNNCellBase = _CELLS[kind](
        cell.input_size,
        cell.hidden_size,
        bias=cell.has_bias,
        dtype=weight.dtype,
        device="meta",
        **options,
    ).to_empty(device=weight.device)
    _fill(built, "", cell, "", 1)
    return built.train(cell.training)


def _kind(cell: Cell) -> tuple[str, dict[str, Any]]:
    """The kind of a cell, and torch's argument that says which function an RNN's is."""
    kind, _, nonlinearity = cell.kind.partition("_")
    return kind, {"nonlinearity": nonlinearity} if nonlinearity else {}


def _check_known(name: str, layer: RecurrentLayer) -> None:
    """Raise a UserError where torch's modules cannot compute what a layer does.

    Args:
        name: of the layer.
        layer: of a stack, or a cell.
    """
    for is_other, what in (
        (layer.cell.candidate != "tanh", f"a {layer.cell.candidate} candidate"),
        (layer.initial != 0, f"an initial state of {layer.initial}"),
    ):
        if is_other:
            raise UserError(f"{name} must be a recurrent layer that torch has, got one with {what}")


def _fill(built: nn.Module, tag: str, layer: RecurrentLayer, suffix: str, inputs: int) -> None:
    """Set the weights of one direction, at the width of the module that gets them.

    Args:
        built: of torch.
        tag: that its weights' names end with.
        layer: of a stack, or a cell.
        suffix: of the layer's parameters.
        inputs: how many parts of one width its inputs have: both directions of the layer before.
    """
    gates, projected = layer.cell.gates, bool(layer.proj_size)
    parts: dict[str, tuple[int, ...]] = {"weight_ih": (gates, inputs), "weight_hh": (gates, 1)}
    parts |= {"bias_ih": (gates,), "bias_hh": (gates,)} if layer.has_bias else {}
    parts |= {PROJECTION: (1, 1)} if projected else {}
    for name, counts in parts.items():
        values = _split(torch_weight(layer, name, suffix), counts)
        goal = _split(built.get_parameter(name + tag).zero_(), counts)
        goal[tuple(slice(size) for size in values.shape)] = values


def _split(values: Tensor, counts: tuple[int, ...]) -> Tensor:
    """A view of a tensor with two axes for each one: the part, and the place in it.

    Args:
        values: of any shape.
        counts: of the equal parts of each axis.
    """
    for axis in reversed(range(values.ndim)):
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        values = values.reshape(*before, counts[axis], -1, *after)
    return values


def _keep_raw(built: nn.RNNBase, names: tuple[str, ...]) -> None:
    """Let weights that a wrapper of user code sets be parameters under the names that it reads.

    Args:
        built: of torch; changed in place.
        names: of the weights.
    """
    for name in names:
        weight = built._parameters.pop(name)
        built.register_parameter(name + RAW, weight)
