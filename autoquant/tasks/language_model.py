"""The next-word model of the language tasks: Embedding -> recurrent layers -> Linear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.kernels import Cell
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.tasks.banded import BandedEmbedding, BandedLinear, check_bands
from autoquant.tasks.initializers import INITIALIZERS, Initializer

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
CANDIDATES = ("tanh", "sigmoid")
CellName = Literal["lstm", "gru"]
Candidate = Literal["tanh", "sigmoid"]


class LanguageModel(nn.Module):
    """Next-word model.

    With ``candidate="sigmoid", rectified=True, initial=0.5, initializer="fan_in"`` and a dropout of
    0.5 it is the model of Bit-RNN (He et al. 2016), in which all that is quantized lies in [0, 1].

    Args:
        vocabulary: number of words V.
        embedding: size E of a word's vector.
        hidden: units H of each recurrent layer.
        layers: number of stacked recurrent layers.
        dropout: probability on the embedding, between layers and before what reads the last one.
        cell: "lstm" or "gru".
        candidate: "tanh", or "sigmoid" for Bit-RNN's cells (see kernels.cell).
        rectified: whether a ReLU follows the embedding.
        initial: what the recurrent state is filled with at the start of a text. It is rounded as a
            hidden state is, where that is quantized.
        initializer: "uniform" (small, as torch's) or "fan_in" (see initializers).
        projection: units P of a linear layer between the last recurrent one and the decoder, which
            is V * (H - P) weights smaller then; 0 for none. There is no dropout behind it.
        bands: word numbers at which embedding and decoder are cut into layers of their own, so that
            frequent words, which come first, can have more bits (see banded).
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 300,
        hidden: int = 300,
        layers: int = 1,
        dropout: float = 0.5,
        cell: CellName = "lstm",
        *,
        candidate: Candidate = "tanh",
        rectified: bool = False,
        initial: float = 0.0,
        initializer: str = "uniform",
        projection: int = 0,
        bands: Sequence[int] = (),
    ) -> None:
        super().__init__()
        _check_choice("cell", cell, CELLS)
        _check_choice("candidate", candidate, CANDIDATES)
        _check_choice("initializer", initializer, INITIALIZERS)
        _check_sizes(1, embedding=embedding, hidden=hidden, layers=layers)
        _check_sizes(0, projection=projection)
        _check_rest(dropout, rectified, initial)
        self.rectified = rectified
        bands = check_bands(bands, vocabulary)
        start = INITIALIZERS[initializer]
        self.embedding: nn.Module
        if bands:
            self.embedding = BandedEmbedding(vocabulary, embedding, bands)
        else:
            self.embedding = nn.Embedding(vocabulary, embedding)
        _start(self.embedding, start)
        between = dropout if layers > 1 else 0.0
        self.rnn: nn.Module
        if candidate == "tanh" and not initial and initializer == "uniform":
            self.rnn = CELLS[cell](embedding, hidden, layers, dropout=between)
        else:
            sizes = [embedding, *[hidden] * layers]
            self.rnn = _stack(Cell(cell, candidate), sizes, between, float(initial))
            start(self.rnn)
        self.projection: nn.Module | None = None
        if projection:
            self.projection = IntegerLinear(hidden, projection)
            start(self.projection)
        features = projection or hidden
        self.decoder: nn.Module
        if bands:
            self.decoder = BandedLinear(features, vocabulary, bands)
        else:
            self.decoder = IntegerLinear(features, vocabulary)
        _start(self.decoder, start)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """tokens [T, B] -> logits [T, B, V] and the recurrent state after the last step.

        With ``words``, ids [n], only the logits [T, B, n] of these words are computed.
        """
        vectors = self.embedding(tokens)  # [T, B, E]
        if self.rectified:
            vectors = vectors.relu()
        outputs, state = self.rnn(self.dropout(vectors), state)  # [T, B, H]
        outputs = self.dropout(outputs)
        if self.projection is not None:
            outputs = self.projection(outputs)  # [T, B, P]
        logits = self.decoder(outputs) if words is None else self.decoder(outputs, words)
        return logits, state


def _start(table: nn.Module, start: Initializer) -> None:
    """First weights of a table, whether it is cut into bands or not."""
    for part in [*table.children()] or [table]:
        start(part)


def _stack(cell: Cell, sizes: list[int], dropout: float, initial: float) -> Recurrent:
    """Layers of a cell that torch does not have, or that start in another way.

    Args:
        sizes: the features of the first layer, then the units of each.
    """
    layers = [
        RecurrentLayer(cell, features, units, bidirectional=False, bias=True, initial=initial)
        for features, units in pairwise(sizes)
    ]
    return Recurrent(layers, dropout=dropout, batch_first=False)


def _check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    if value not in [*allowed]:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _check_sizes(least: int, **sizes: object) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < least:
            raise UserError(f"{name} must be a whole number from {least} up, got {size!r}")


def _check_rest(dropout: object, rectified: object, initial: object) -> None:
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:  # type: ignore[operator]
        raise UserError(f"dropout must be in [0, 1), got {dropout!r}")
    if type(rectified) is not bool:
        raise UserError(f"rectified must be true or false, got {rectified!r}")
    if type(initial) not in (int, float) or not 0 <= initial <= 1:  # type: ignore[operator]
        raise UserError(f"initial must be in [0, 1], got {initial!r}")
