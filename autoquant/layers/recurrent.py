"""Recurrent layers whose widths differ along the stack and whose hidden state can be quantized.

``Recurrent`` stands in for nn.LSTM, nn.GRU and nn.RNN: same inputs, same outputs. It holds one
``RecurrentLayer`` for each layer of the stack, named l0, l1, ... torch's two biases of a gate are
one here (they are only ever added), except for the GRU's candidate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.kernels import Cell, State, Weights, recur
from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec

SUFFIXES = ("", "_reverse")


class RecurrentLayer(nn.Module):
    """One layer of a stack, in one or both directions.

    Parameters (and the same with suffix ``_reverse``), with G gates: weight_ih [G*H, I],
    weight_hh [G*H, H], bias [G*H], and for a GRU bias_hn [H].
    """

    unit_sources: Tensor

    def __init__(
        self, cell: Cell, features: int, units: int, *, bidirectional: bool, bias: bool
    ) -> None:
        super().__init__()
        self.cell = cell
        self.input_size = features
        self.hidden_size = units
        self.bidirectional = bidirectional
        self.has_bias = bias
        self.hidden_quantizer: nn.Module | None = None
        rows = cell.gates * units
        bound = units**-0.5
        for suffix in SUFFIXES[: self.directions]:
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, features),
                "weight_hh": (rows, units),
            }
            shapes |= {"bias": (rows,)} if bias else {}
            shapes |= {"bias_hn": (units,)} if bias and cell.kind == "gru" else {}
            for name, shape in shapes.items():
                values = torch.empty(shape).uniform_(-bound, bound)
                self.register_parameter(name + suffix, nn.Parameter(values))

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def weights(self, suffix: str) -> Weights:
        """The weights of one direction, quantized where they are parametrized."""
        names = ("weight_ih", "weight_hh", "bias", "bias_hn")
        return Weights(*(getattr(self, name + suffix, None) for name in names))  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """inputs [T, B, I] and a state for each direction -> [T, B, D*H] and the last states."""
        outputs, last = [], []
        for suffix, state in zip(SUFFIXES, states, strict=False):
            flowing = inputs.flip(0) if suffix else inputs
            out, end = recur(self.cell, flowing, self.weights(suffix), state, self.hidden_quantizer)
            outputs.append(out.flip(0) if suffix else out)
            last.append(end)
        return (torch.cat(outputs, -1) if self.bidirectional else outputs[0]), last


class Recurrent(nn.Module):
    """A stack of recurrent layers with the interface of nn.LSTM, nn.GRU and nn.RNN.

    The state that is taken and given has torch's layout [L*D, B, H]; where layers differ in width
    it is as wide as the widest, padded with zeros. A state of the model's original width, as user
    code makes it, is taken too: units that widening duplicated get their source's value.
    """

    def __init__(self, layers: list[RecurrentLayer], *, dropout: float, batch_first: bool) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            self.add_module(f"l{i}", layer)
        self.num_layers = len(layers)
        self.hidden_size = layers[0].hidden_size  # as user code knows it; widening leaves it
        self.input_size = layers[0].input_size
        self.bidirectional = layers[0].bidirectional
        self.dropout = dropout
        self.batch_first = batch_first
        self._lstm = layers[0].cell.kind == "lstm"

    @classmethod
    def from_torch(cls, module: nn.RNNBase) -> Recurrent:
        """The same function as a torch module, with a copy of its weights."""
        kinds = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
        cell = Cell(kinds[module.mode])  # type: ignore[arg-type]
        layers: list[RecurrentLayer] = []
        for i in range(module.num_layers):
            features = module.input_size if i == 0 else layers[-1].directions * module.hidden_size
            layer = RecurrentLayer(
                cell,
                features,
                module.hidden_size,
                bidirectional=module.bidirectional,
                bias=module.bias,
            )
            layer.to(module.weight_ih_l0.device, module.weight_ih_l0.dtype)  # type: ignore[arg-type]
            _copy_weights(module, layer, i)
            layers.append(layer)
        stack = cls(layers, dropout=module.dropout, batch_first=module.batch_first)
        return stack.train(module.training)

    @property
    def layers(self) -> list[RecurrentLayer]:
        return [self.get_submodule(f"l{i}") for i in range(self.num_layers)]  # type: ignore[misc]

    def flatten_parameters(self) -> None:
        """torch's modules have it; nothing to do here."""

    def forward(self, inputs: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """inputs [T, B, I] (or [B, T, I] when batch_first, or [T, I]) and an optional state."""
        if isinstance(inputs, PackedSequence):
            raise UserError("recurrent layers take padded tensors, got a PackedSequence")
        batched = inputs.ndim == 3
        inputs = inputs if batched else inputs.unsqueeze(0 if self.batch_first else 1)
        outputs = inputs.transpose(0, 1) if self.batch_first else inputs
        states = self._initial(hx, outputs, batched)
        last: list[State] = []
        for i, layer in enumerate(self.layers):
            if i and self.dropout:
                outputs = F.dropout(outputs, self.dropout, self.training)
            own = states[i * layer.directions : (i + 1) * layer.directions]
            outputs, ends = layer(outputs, own)
            last += ends
        outputs = outputs.transpose(0, 1) if self.batch_first else outputs
        state = self._joined(last)
        if not batched:
            outputs = outputs.squeeze(0 if self.batch_first else 1)
            state = tuple(part.squeeze(1) for part in state)
        return outputs, state if self._lstm else state[0]

    def _initial(self, hx: Any, inputs: Tensor, batched: bool) -> list[State]:
        """The state of each layer and direction, each part [B, H of the layer]."""
        parts = 2 if self._lstm else 1
        layers = [layer for layer in self.layers for _ in range(layer.directions)]
        if hx is None:
            batch = inputs.shape[1]
            return [
                tuple(inputs.new_zeros(batch, layer.hidden_size) for _ in range(parts))
                for layer in layers
            ]
        given = hx if self._lstm else (hx,)
        given = given if batched else tuple(part.unsqueeze(1) for part in given)
        return [
            tuple(self._fitted(part[i], layer) for part in given) for i, layer in enumerate(layers)
        ]

    def _fitted(self, part: Tensor, layer: RecurrentLayer) -> Tensor:
        """One layer's share of a given state [B, W], where W is the original or widest width."""
        widest = max(each.hidden_size for each in self.layers)
        if part.shape[-1] == widest:
            return part[..., : layer.hidden_size]
        if part.shape[-1] != self.hidden_size:
            raise UserError(
                f"a recurrent state must be {self.hidden_size} or {widest} wide, "
                f"got {part.shape[-1]}"
            )
        if not hasattr(layer, "unit_sources"):
            return part
        sources = layer.unit_sources.long()
        return torch.where(sources >= 0, part[..., sources.clamp_min(0)], 0.0)

    def _joined(self, states: list[State]) -> State:
        widest = max(layer.hidden_size for layer in self.layers)
        return tuple(
            torch.stack([F.pad(part, (0, widest - part.shape[-1])) for part in parts])
            for parts in zip(*states, strict=True)
        )


@torch.no_grad()
def _copy_weights(module: nn.RNNBase, layer: RecurrentLayer, index: int) -> None:
    for suffix in SUFFIXES[: layer.directions]:
        tag = f"_l{index}{suffix}"
        getattr(layer, "weight_ih" + suffix).copy_(getattr(module, "weight_ih" + tag))
        getattr(layer, "weight_hh" + suffix).copy_(getattr(module, "weight_hh" + tag))
        if not module.bias:
            continue
        first, second = getattr(module, "bias_ih" + tag), getattr(module, "bias_hh" + tag).clone()
        if layer.cell.kind == "gru":  # the candidate's second bias stands inside the reset gate
            candidate = second[-layer.hidden_size :]
            getattr(layer, "bias_hn" + suffix).copy_(candidate)
            candidate.zero_()
        getattr(layer, "bias" + suffix).copy_(first + second)


@layer_kind(RecurrentLayer)
class RecurrentKind:
    """One layer of a recurrent stack; both directions share a width and bits."""

    name = "recurrent"

    def describe(self, name: str, module: RecurrentLayer) -> LayerSpec:
        units, features, gates = module.hidden_size, module.input_size, module.cell.gates
        rows = Axis("out", gates * units, gates)
        parameters = []
        for suffix in SUFFIXES[: module.directions]:
            columns = {"weight_ih": Axis("in", features), "weight_hh": Axis("hidden", units)}
            parameters += [
                ParameterSpec("weight_ih" + suffix, (rows, columns["weight_ih"]), "weight"),
                ParameterSpec("weight_hh" + suffix, (rows, columns["weight_hh"]), "recurrent"),
            ]
            if module.has_bias:
                parameters.append(ParameterSpec("bias" + suffix, (rows,), "bias"))
            if module.has_bias and module.cell.kind == "gru":
                parameters.append(ParameterSpec("bias_hn" + suffix, (Axis("out", units),), "bias"))
        return LayerSpec(
            name,
            module.cell.kind,
            tuple(parameters),
            units,
            features,
            directions=module.directions,
            recurrent=True,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return {"hidden_size": spec.units, "input_size": spec.features}
