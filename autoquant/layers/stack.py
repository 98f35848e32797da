"""``Recurrent``: stands in for nn.LSTM, nn.GRU and nn.RNN; same inputs, same outputs.

It holds one ``RecurrentLayer`` for each layer of the stack, named l0, l1, ...; their widths may
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.layers.packed_sequence import sizes_of
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer, copy_weights
from autoquant.layers.states import StateLayout

_KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


class Recurrent(nn.Module):
    """A stack of recurrent layers with the interface of nn.LSTM, nn.GRU and nn.RNN.

    States are laid out as in torch; see StateLayout for layers of different widths.
    """

    def __init__(self, layers: list[RecurrentLayer], *, dropout: float, batch_first: bool) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            self.add_module(f"l{i}", layer)
        self.num_layers = len(layers)
        self.hidden_size = layers[0].hidden_size  # as user code knows it; widening leaves it
        self.proj_size = layers[0].proj_size  # likewise
        self.input_size = layers[0].input_size
        self.bidirectional = layers[0].bidirectional
        self.dropout = dropout
        self.batch_first = batch_first
        self._lstm = layers[0].cell.kind == "lstm"

    @classmethod
    def from_torch(cls, module: nn.RNNBase) -> Recurrent:
        """The same function as a torch module, with a copy of its weights."""
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
            layer.to(module.weight_ih_l0.device, module.weight_ih_l0.dtype)  # type: ignore[arg-type]
            for suffix in SUFFIXES[: layer.directions]:
                copy_weights(module, layer, suffix, f"_l{i}{suffix}")
            layers.append(layer)
        stack = cls(layers, dropout=module.dropout, batch_first=module.batch_first)
        return stack.train(module.training)

    @property
    def layers(self) -> list[RecurrentLayer]:
        return [*self._modules.values()]  # type: ignore[list-item]

    def flatten_parameters(self) -> None:
        """torch's modules have it; nothing to do here."""

    def forward(self, inputs: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run over time.

        Args:
            inputs: [T, B, I] (or [B, T, I] when batch_first, or [T, I]), or a PackedSequence.
            hx: the initial state; where None, what the layers are set to start with: zeros.

        Returns:
            outputs as the inputs came, D*W wide, and the state of each sequence after its last
            step.
        """
        if isinstance(inputs, PackedSequence):
            return self._packed(inputs, hx)
        if not isinstance(inputs, Tensor):
            kind = type(inputs).__name__
            raise UserError(f"recurrent inputs must be a tensor or a PackedSequence, got {kind}")
        return self._padded(inputs, hx)

    def _padded(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        _check(inputs, self.layers[0].input_size, "BT" if self.batch_first else "TB", "T")
        if inputs.ndim == 2:
            return self._unbatched(inputs, hx)
        flow = inputs.transpose(0, 1) if self.batch_first else inputs
        steps, batch = flow.shape[:2]
        layout = self._layout()
        given = None if hx is None else layout.parts(hx, batch)
        states = layout.start(batch, inputs) if given is None else layout.split(given)
        rows, last = self._run(flow.flatten(0, 1), [batch] * steps, states)
        outputs = rows.reshape(steps, batch, rows.shape[1])
        outputs = outputs.transpose(0, 1) if self.batch_first else outputs
        return outputs, self._state(layout.joined(last))

    def _unbatched(self, inputs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        layout = self._layout()
        given = None if hx is None else tuple(part.unsqueeze(1) for part in layout.parts(hx))
        states = layout.start(1, inputs) if given is None else layout.split(given)
        rows, last = self._run(inputs, [1] * len(inputs), states)
        return rows, self._state(tuple(part.squeeze(1) for part in layout.joined(last)))

    def _packed(self, inputs: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Sequences may have been sorted: states are in the order before that."""
        _check(inputs.data, self.layers[0].input_size, "N")
        sizes, layout = sizes_of(inputs), self._layout()
        if hx is None:
            states = layout.start(sizes[0], inputs.data)
        else:
            given = _reordered(layout.parts(hx, sizes[0]), inputs.sorted_indices)
            states = layout.split(given)
        rows, last = self._run(inputs.data, sizes, states)
        outputs = PackedSequence(
            rows, inputs.batch_sizes, inputs.sorted_indices, inputs.unsorted_indices
        )
        return outputs, self._state(_reordered(layout.joined(last), inputs.unsorted_indices))

    def _run(
        self, rows: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """All layers, on rows [N, I] of the steps one after the other."""
        last: list[State] = []
        for i, layer in enumerate(self.layers):
            if i and self.dropout:
                rows = F.dropout(rows, self.dropout, self.training)
            own = states[i * layer.directions : (i + 1) * layer.directions]
            rows, ends = layer(rows, sizes, own)
            last += ends
        return rows, last

    def _layout(self) -> StateLayout:
        units = self.proj_size or self.hidden_size
        return StateLayout(self.layers, (units, self.hidden_size) if self._lstm else (units,))

    def _state(self, parts: State) -> Any:
        return parts if self._lstm else parts[0]


def _check(inputs: Tensor, features: int, *leads: str) -> None:
    """Whether inputs have ``features`` after one of some leads, each a letter an axis."""
    if inputs.ndim - 1 not in map(len, leads) or inputs.shape[-1] != features:
        wanted = " or ".join(f"[{', '.join(lead)}, {features}]" for lead in leads)
        raise UserError(f"recurrent inputs must be {wanted}, got {list(inputs.shape)}")


def _reordered(parts: State, order: Tensor | None) -> State:
    """Parts [L*D, B, W] with their sequences in another order."""
    return parts if order is None else tuple(part.index_select(1, order) for part in parts)
