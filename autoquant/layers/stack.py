"""``Recurrent``: replaces nn.LSTM, nn.GRU and nn.RNN; the same inputs and outputs.

It holds one ``RecurrentLayer`` for each layer of the stack, named l0, l1, ...; their widths may
differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.layers.packed_sequence import batch_sizes
from autoquant.layers.recurrent import (
    RAW,
    SUFFIXES,
    RecurrentLayer,
    copy_weights,
    torch_weight,
)
from autoquant.layers.states import StateLayout

_KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
_TORCH_WEIGHT = re.compile(r"((?:weight|bias)_(?:ih|hh|hr))_l(\d+)((?:_reverse)?)")


class Recurrent(nn.Module):
    """A stack of recurrent layers with the interface of nn.LSTM, nn.GRU and nn.RNN.

    States are laid out as in torch; see StateLayout for layers of different widths. For user code
    that reads them, weights also have the names that torch gives them (``weight_ih_l0``).

    Args:
        layers: first to last, of one kind of cell.
        dropout: probability of the dropout between layers in training.
        batch_first: whether padded inputs are [B, T, I], not [T, B, I].
        raw: torch's names of weights that a wrapper of user code sets before each pass, from what
            it reads as ``NAME_raw``. In training the weight is what was set; in eval mode it is the
            raw one.
    """

    _raw: tuple[str, ...] = ()

    def __init__(
        self,
        layers: list[RecurrentLayer],
        *,
        dropout: float,
        batch_first: bool,
        raw: tuple[str, ...] = (),
    ) -> None:
        nn.Module.__init__(self)
        self._raw = raw
        for i, layer in enumerate(layers):
            self.add_module(f"l{i}", layer)
        self.num_layers = len(layers)
        self.hidden_size = layers[0].hidden_size  # for user code; widening does not change it
        self.proj_size = layers[0].proj_size  # likewise
        self.input_size = layers[0].input_size
        self.bidirectional = layers[0].bidirectional
        self.dropout = dropout
        self.batch_first = batch_first
        self.bias = layers[0].has_bias
        self.mode = next((m for m, kind in _KINDS.items() if kind == layers[0].cell.kind), "")
        self._lstm = layers[0].cell.kind == "lstm"

    # nn.LSTM, nn.GRU and nn.RNN change these for flat weights, which their subclasses here lack
    __setstate__ = nn.Module.__setstate__
    _apply = nn.Module._apply
    _replicate_for_data_parallel = nn.Module._replicate_for_data_parallel
    extra_repr = nn.Module.extra_repr

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setattr__(self, name: str, value: Any) -> None:
        """A weight that a wrapper sets in training is kept for the next pass, as no parameter."""
        if name not in self._raw:
            nn.Module.__setattr__(self, name, value)
        elif self.training:
            layer, own = self._weight(name)
            layer.given[own] = value

    def __getattr__(self, name: str) -> Any:
        """A weight by the name that torch gives it, as it is now; see ``torch_weight``.

        Args:
            name: of any attribute that is not found otherwise. With the suffix RAW, of the weight
                that a wrapper sets another one from.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.endswith(RAW) and name.removesuffix(RAW) in self._raw:
                return getattr(*self._weight(name.removesuffix(RAW)))
            match = _TORCH_WEIGHT.fullmatch(name)
            if match is None or int(match[2]) >= len(self._modules):
                raise
            return torch_weight(self.layers[int(match[2])], match[1], match[3])

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights of each layer and direction, as torch lists them."""
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        names += ["weight_hr"] if self.proj_size else []
        return [
            [torch_weight(layer, name, suffix) for name in names]
            for layer in self.layers
            for suffix in SUFFIXES[: layer.directions]
        ]

    @staticmethod
    def from_torch(module: nn.RNNBase) -> Recurrent:
        """The same function as a torch module, with a copy of its weights.

        Args:
            module: nn.LSTM, nn.GRU or nn.RNN.
        """
        cell = Cell(_KINDS[module.mode])  # type: ignore[arg-type]
        layers: list[RecurrentLayer] = []
        for i in range(module.num_layers):
            features = layers[-1].directions * layers[-1].units if layers else module.input_size
            layer = RecurrentLayer(
                cell,
                features,
                module.hidden_size,
                bidirectional=module.bidirectional,
                bias=module.bias,
                projection=module.proj_size,
            )
            parameter = next(module.parameters())
            layer.to(parameter.device, parameter.dtype)
            for suffix in SUFFIXES[: layer.directions]:
                copy_weights(module, layer, suffix, f"_l{i}{suffix}")
            layers.append(layer)
        raw = tuple(name.removesuffix(RAW) for name in module._parameters if name.endswith(RAW))
        types = (c for torch_class, c in STACKS.items() if isinstance(module, torch_class))
        stack = next(types)(layers, dropout=module.dropout, batch_first=module.batch_first, raw=raw)
        return stack.train(module.training)

    def _weight(self, name: str) -> tuple[RecurrentLayer, str]:
        """The layer that has one of torch's weights, and the weight's name there."""
        kind, _, rest = name.rpartition("_l")
        number, _, reverse = rest.partition("_")
        return self.layers[int(number)], f"{kind}_{reverse}" if reverse else kind

    @property
    def layers(self) -> list[RecurrentLayer]:
        """The layers, first to last."""
        return [*self._modules.values()]  # type: ignore[list-item]

    def flatten_parameters(self) -> None:
        """For user code that calls it on torch's modules; it does nothing here."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run over time; the arguments have torch's names.

        Args:
            input: [T, B, I] (or [B, T, I] when batch_first, or [T, I]), or a PackedSequence.
            hx: the initial state, h or (h, c), each part [L*D, B, W] ([L*D, W] without a batch
                axis); where None, the value that the layers are built with, 0 by default.

        Returns:
            outputs in the form of the input, of the width D*W, and the state of each sequence
            after its last time step, laid out as ``hx``.

        Raises:
            UserError: inputs or state have another type or shape.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if not isinstance(input, Tensor):
            kind = type(input).__name__
            raise UserError(f"recurrent inputs must be a tensor or a PackedSequence, got {kind}")
        return self._padded(input, hx)

    def _padded(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        _check(inputs, self.layers[0].input_size, "BT" if self.batch_first else "TB", "T")
        if inputs.ndim == 2:
            return self._unbatched(inputs, hx)
        by_step = inputs.transpose(0, 1) if self.batch_first else inputs
        steps, batch = by_step.shape[:2]
        layout = self._layout()
        parts = None if hx is None else layout.checked_parts(hx, batch)
        states = layout.initial_states(batch, inputs) if parts is None else layout.split(parts)
        rows, last = self._run(by_step.flatten(0, 1), [batch] * steps, states)
        outputs = rows.reshape(steps, batch, rows.shape[1])
        outputs = outputs.transpose(0, 1) if self.batch_first else outputs
        return outputs, self._state(layout.join(last))

    def _unbatched(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        layout = self._layout()
        if hx is None:
            states = layout.initial_states(1, inputs)
        else:
            states = layout.split(tuple(part.unsqueeze(1) for part in layout.checked_parts(hx)))
        rows, last = self._run(inputs, [1] * len(inputs), states)
        return rows, self._state(tuple(part.squeeze(1) for part in layout.join(last)))

    def _packed(self, inputs: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Sequences may have been sorted: states are in the order before that."""
        _check(inputs.data, self.layers[0].input_size, "N")
        sizes, layout = batch_sizes(inputs), self._layout()
        if hx is None:
            states = layout.initial_states(sizes[0], inputs.data)
        else:
            parts = layout.checked_parts(hx, sizes[0])
            states = layout.split(reordered(parts, inputs.sorted_indices))
        rows, last = self._run(inputs.data, sizes, states)
        outputs = PackedSequence(
            rows, inputs.batch_sizes, inputs.sorted_indices, inputs.unsorted_indices
        )
        return outputs, self._state(reordered(layout.join(last), inputs.unsorted_indices))

    def _run(
        self, rows: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """Run all layers.

        Args:
            rows: inputs [N, I], the time steps one after the other.
            sizes: how many sequences are active at each time step.
            states: the initial state of each layer and direction.

        Returns:
            [N, D*W] of the last layer, and the last state of each layer and direction.
        """
        last: list[State] = []
        for i, layer in enumerate(self.layers):
            if i and self.dropout:
                rows = F.dropout(rows, self.dropout, self.training)
            layer_states = states[i * layer.directions : (i + 1) * layer.directions]
            rows, ends = layer(rows, sizes, layer_states)
            layer.given = {}
            last += ends
        return rows, last

    def _layout(self) -> StateLayout:
        units = self.proj_size or self.hidden_size
        return StateLayout(self.layers, (units, self.hidden_size) if self._lstm else (units,))

    def _state(self, parts: State) -> Any:
        return parts if self._lstm else parts[0]


class RecurrentLSTM(Recurrent, nn.LSTM):  # type: ignore[misc]
    """A Recurrent that user code knows as nn.LSTM."""


class RecurrentGRU(Recurrent, nn.GRU):  # type: ignore[misc]
    """A Recurrent that user code knows as nn.GRU."""


class RecurrentRNN(Recurrent, nn.RNN):  # type: ignore[misc]
    """A Recurrent that user code knows as nn.RNN."""


STACKS: dict[type[nn.RNNBase], type[Recurrent]] = {
    nn.LSTM: RecurrentLSTM,
    nn.GRU: RecurrentGRU,
    nn.RNN: RecurrentRNN,
}
"""What takes the place of each class of torch, and is an instance of it."""


def _check(inputs: Tensor, features: int, *leads: str) -> None:
    """Raise a UserError unless inputs have one of some shapes.

    Args:
        inputs: of any shape.
        features: size that the last axis must have.
        leads: the shapes that the other axes may have, each a letter an axis.
    """
    if inputs.ndim - 1 not in map(len, leads) or inputs.shape[-1] != features:
        wanted = " or ".join(f"[{', '.join(lead)}, {features}]" for lead in leads)
        raise UserError(f"recurrent inputs must be {wanted}, got {list(inputs.shape)}")


def reordered(parts: State, order: Tensor | None) -> State:
    """Parts of a state with their sequences in another order.

    Args:
        parts: each [L*D, B, W].
        order: indices [B], or None for the same order.
    """
    return parts if order is None else tuple(part.index_select(1, order) for part in parts)
