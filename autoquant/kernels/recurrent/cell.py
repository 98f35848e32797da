"""The recurrent cells: how many gates they have, and what one step computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

CellKind = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
GATES: dict[CellKind, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

State = tuple[Tensor, ...]  # (h,) or, for an LSTM, (h, c); each [B, H], a projected h [B, P]
Quantize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cell:
    """A cell and the function of its candidate and output.

    Attributes:
        kind: "lstm" (gates i, f, g, o), "gru" (r, z, n), "rnn_tanh" or "rnn_relu".
        candidate: "tanh", or "sigmoid" as in Bit-RNN (He et al. 2016), which keeps the hidden state
            in [0, 1]. In its LSTM it also stands in for the tanh of the output, and 1 is added to
            the forget gate; its GRU resets first, and rounds as it goes (see _gru_of_bit_rnn).
    """

    kind: CellKind
    candidate: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        if self.candidate == "sigmoid" and self.kind not in ("lstm", "gru"):
            raise ValueError(f"a sigmoid candidate needs an lstm or gru cell, got {self.kind!r}")

    @property
    def gates(self) -> int:
        return GATES[self.kind]

    @property
    def resets_first(self) -> bool:
        """Whether it is a GRU that resets the hidden state before the product, not after it."""
        return self.kind == "gru" and self.candidate == "sigmoid"


class Weights(NamedTuple):
    """Weights of one direction: input [G*H, I], recurrent [G*H, H], bias [G*H] or None.

    A GRU has a second bias of its candidate [H], which stands inside the reset gate; one that
    resets first has no such place. An LSTM may
    have a projection [P, H] of its hidden state; its recurrent weight is then [4*H, P].
    """

    input: Tensor
    recurrent: Tensor
    bias: Tensor | None
    candidate_bias: Tensor | None = None
    projection: Tensor | None = None


def step(
    cell: Cell, projected: Tensor, weights: Weights, state: State, quantize: Quantize | None = None
) -> State:
    """One time step: projected input [B, G*H] and state -> next state (h not yet quantized).

    Args:
        quantize: what a GRU that resets first does to what it computes on the way, or None.
    """
    hidden = state[0]
    if cell.kind == "lstm":
        gates = torch.addmm(projected, hidden, weights.recurrent.t())
        hidden, memory = _lstm(cell, gates, state[1])
        projection = weights.projection
        return hidden if projection is None else hidden @ projection.t(), memory
    if cell.resets_first:
        return (_gru_of_bit_rnn(projected, weights.recurrent, hidden, quantize or _unchanged),)
    if cell.kind == "gru":
        recurrent = hidden @ weights.recurrent.t()
        return (_gru(projected, recurrent, weights.candidate_bias, hidden),)
    gates = torch.addmm(projected, hidden, weights.recurrent.t())
    return (gates.tanh() if cell.kind == "rnn_tanh" else gates.relu(),)


def _lstm(cell: Cell, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, dim=1)
    squash = torch.tanh if cell.candidate == "tanh" else torch.sigmoid
    forget = f if cell.candidate == "tanh" else f + 1
    memory = forget.sigmoid() * memory + i.sigmoid() * squash(g)
    return o.sigmoid() * squash(memory), memory


def _gru(projected: Tensor, recurrent: Tensor, bias: Tensor | None, hidden: Tensor) -> Tensor:
    r_in, z_in, n_in = projected.chunk(3, dim=1)
    r_hid, z_hid, n_hid = recurrent.chunk(3, dim=1)
    if bias is not None:
        n_hid = n_hid + bias
    update = (z_in + z_hid).sigmoid()
    candidate = (n_in + (r_in + r_hid).sigmoid() * n_hid).tanh()
    return candidate + update * (hidden - candidate)


def _gru_of_bit_rnn(
    projected: Tensor, recurrent: Tensor, hidden: Tensor, quantize: Quantize
) -> Tensor:
    """The GRU as it was first written down (Cho et al. 2014), with roundings A and sigmoids only.

    r, u = sig(.), c = A(sig(x W + A(r * h) U)), h' = u * h + (1 - u) * c.
    """
    gates = 2 * hidden.shape[1]
    before = torch.addmm(projected[:, :gates], hidden, recurrent[:gates].t())
    reset, update = before.sigmoid().chunk(2, dim=1)
    kept = quantize(reset * hidden)
    candidate = quantize(torch.addmm(projected[:, gates:], kept, recurrent[gates:].t()).sigmoid())
    return candidate + update * (hidden - candidate)


def _unchanged(values: Tensor) -> Tensor:
    return values
