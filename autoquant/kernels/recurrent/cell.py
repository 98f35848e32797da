"""The recurrent cells: their gates, what one time step computes, and what a run over time needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

CellKind = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
GATES: dict[CellKind, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

State = tuple[Tensor, ...]
"""(h,) or, for an LSTM, (h, c): hidden and cell state, each [B, H]; a projected h is [B, P]."""
Quantize = Callable[[Tensor], Tensor]
"""Values of any shape -> the same, quantized."""


@dataclass(frozen=True)
class Cell:
    """A cell and the function of its candidate and output.

    Attributes:
        kind: "lstm" (gates i, f, g, o), "gru" (r, z, n), "rnn_tanh" or "rnn_relu".
        candidate: "tanh", or "sigmoid" as in Bit-RNN (He et al. 2016), which keeps the hidden state
            in [0, 1]. Bit-RNN's LSTM also has a sigmoid instead of the tanh of the output, and 1 is
            added to its forget gate; its GRU resets first, and rounds intermediate values (see
            _bit_rnn_gru).
    """

    kind: CellKind
    candidate: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        if self.candidate == "sigmoid" and self.kind not in ("lstm", "gru"):
            raise ValueError(f"a sigmoid candidate needs an lstm or gru cell, got {self.kind!r}")

    @property
    def gates(self) -> int:
        """Number of gates G."""
        return GATES[self.kind]

    @property
    def resets_first(self) -> bool:
        """Whether it is a GRU that resets the hidden state before the product, not after it."""
        return self.kind == "gru" and self.candidate == "sigmoid"


class Weights(NamedTuple):
    """Weights of one direction.

    Attributes:
        input: [G*H, I].
        recurrent: [G*H, H]; [4*H, P] with a projection.
        bias: [G*H], or None.
        candidate_bias: [H], a GRU's second bias of its candidate, which the reset gate multiplies;
            or None. A GRU that resets first has none.
        projection: [P, H], of an LSTM's hidden state, or None.
    """

    input: Tensor
    recurrent: Tensor
    bias: Tensor | None
    candidate_bias: Tensor | None = None
    projection: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Recurrence:
    """One direction of a recurrent layer, to be run over time.

    Attributes:
        cell: computes one time step.
        inputs: [N, I], the time steps one after the other, already quantized where the plan says
            so.
        sizes: how many sequences are active at each of the T time steps, as ``batch_sizes`` of a
            PackedSequence: non-increasing, from B on, with the sum N. [B] * T for a padded batch.
        weights: of the direction.
        state: the initial state of B sequences; h is quantized like every later one.
        quantize: applied to each hidden state, or None; also to intermediate values of a GRU that
            resets first (see ``step``).
    """

    cell: Cell
    inputs: Tensor
    sizes: Sequence[int]
    weights: Weights
    state: State
    quantize: Quantize | None = None


def step(
    cell: Cell, projected: Tensor, weights: Weights, state: State, quantize: Quantize | None = None
) -> State:
    """One time step.

    Args:
        cell: the cell.
        projected: product of inputs and input weight, with the bias, [B, G*H].
        weights: of the direction.
        state: before the step.
        quantize: applied to intermediate values of a GRU that resets first, or None.

    Returns:
        the next state, whose h is not yet quantized.
    """
    hidden = state[0]
    if cell.kind == "lstm":
        gates = torch.addmm(projected, hidden, weights.recurrent.t())
        hidden, memory = _lstm(cell, gates, state[1])
        projection = weights.projection
        return hidden if projection is None else hidden @ projection.t(), memory
    if cell.resets_first:
        return (_bit_rnn_gru(projected, weights.recurrent, hidden, quantize or _unchanged),)
    if cell.kind == "gru":
        recurrent = hidden @ weights.recurrent.t()
        return (_gru(projected, recurrent, weights.candidate_bias, hidden),)
    gates = torch.addmm(projected, hidden, weights.recurrent.t())
    return (gates.tanh() if cell.kind == "rnn_tanh" else gates.relu(),)


def _lstm(cell: Cell, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM's next h and c.

    Args:
        cell: says which function squashes candidate and c.
        gates: before their activations, [B, 4*H].
        memory: c, [B, H].
    """
    i, f, g, o = gates.chunk(4, dim=1)
    squash = torch.tanh if cell.candidate == "tanh" else torch.sigmoid
    forget = f if cell.candidate == "tanh" else f + 1
    memory = forget.sigmoid() * memory + i.sigmoid() * squash(g)
    return o.sigmoid() * squash(memory), memory


def _gru(projected: Tensor, recurrent: Tensor, bias: Tensor | None, hidden: Tensor) -> Tensor:
    """The GRU's next h.

    Args:
        projected: [B, 3*H].
        recurrent: product of h and the recurrent weight, [B, 3*H].
        bias: of the candidate, inside the reset gate, [H] or None.
        hidden: h, [B, H].
    """
    r_in, z_in, n_in = projected.chunk(3, dim=1)
    r_hid, z_hid, n_hid = recurrent.chunk(3, dim=1)
    if bias is not None:
        n_hid = n_hid + bias
    update = (z_in + z_hid).sigmoid()
    candidate = (n_in + (r_in + r_hid).sigmoid() * n_hid).tanh()
    return candidate + update * (hidden - candidate)


def _bit_rnn_gru(
    projected: Tensor, recurrent: Tensor, hidden: Tensor, quantize: Quantize
) -> Tensor:
    """The GRU of Cho et al. 2014 (section 2.3) with roundings A and sigmoids only, as in Bit-RNN.

    r, u = sig(.), c = A(sig(x W + A(r * h) U)), h' = u * h + (1 - u) * c.

    Args:
        projected: [B, 3*H].
        recurrent: the recurrent weight, [3*H, H].
        hidden: h, [B, H].
        quantize: A.
    """
    gates = 2 * hidden.shape[1]
    before = torch.addmm(projected[:, :gates], hidden, recurrent[:gates].t())
    reset, update = before.sigmoid().chunk(2, dim=1)
    remaining = quantize(reset * hidden)
    product = torch.addmm(projected[:, gates:], remaining, recurrent[gates:].t())
    candidate = quantize(product.sigmoid())
    return candidate + update * (hidden - candidate)


def _unchanged(values: Tensor) -> Tensor:
    return values
