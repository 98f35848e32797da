"""The next-word model of the language tasks: Embedding -> recurrent layers -> Linear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from autoquant.errors import UserError, shown
from autoquant.kernels import Cell
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.tasks.argument_checks import check_flags, check_whole
from autoquant.tasks.banded import BandedEmbedding, BandedLinear, check_bands
from autoquant.tasks.initializers import INITIALIZERS, Initializer

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
CANDIDATES = ("tanh", "sigmoid")
CellName = Literal["lstm", "gru"]
CandidateName = Literal["tanh", "sigmoid"]


class LanguageModel(nn.Module):
    """Next-word model.

    With ``candidate="sigmoid", rectified=True, initial=0.5, initializer="fan_in"`` and a dropout of
    0.5 it is the model of Bit-RNN (He et al. 2016), in which all that is quantized lies in [0, 1].

    Args:
        vocabulary: number of words V.
        embedding: entries E of a word's vector.
        hidden: units H of each recurrent layer.
        layers: number of stacked recurrent layers.
        dropout: probability on the embedding, between layers and after the last recurrent one, in
            [0, 1).
        cell: "lstm" or "gru".
        candidate: activation of the cell's candidate state: "tanh", or "sigmoid" for Bit-RNN's
            cells (see ``kernels.Cell``).
        rectified: whether a ReLU follows the embedding.
        initial: value of the recurrent state at the start of a text, in [0, 1]. It is rounded like
            a hidden state where that is quantized.
        initializer: "uniform" (small, as torch's) or "fan_in" (see ``initializers``).
        projection: units P of a linear layer between the last recurrent one and the decoder, which
            then has V * (H - P) weights fewer; 0 for none. There is no dropout behind it.
        bands: word numbers at which embedding and decoder are cut into layers of their own, so that
            frequent words, which come first, can have more bits (see ``banded``).

    Raises:
        UserError: an argument is not one of the allowed values.
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
        candidate: CandidateName = "tanh",
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
        check_whole(1, embedding=embedding, hidden=hidden, layers=layers)
        check_whole(0, projection=projection)
        _check_ranges(dropout, rectified, initial)
        self.rectified = rectified
        bands = check_bands(bands, vocabulary)
        initialize = INITIALIZERS[initializer]
        self.embedding = _embedding(vocabulary, embedding, bands, initialize)
        sizes = [embedding, *[hidden] * layers]
        between = dropout if layers > 1 else 0.0
        self.rnn: nn.Module
        if candidate == "tanh" and not initial and initializer == "uniform":
            self.rnn = CELLS[cell](embedding, hidden, layers, dropout=between)
        else:
            self.rnn = _stack(Cell(cell, candidate), sizes, between, float(initial))
            initialize(self.rnn)
        self.projection: nn.Module | None = None
        if projection:
            self.projection = IntegerLinear(hidden, projection)
            initialize(self.projection)
        self.decoder = _decoder(projection or hidden, vocabulary, bands, initialize)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Predict the next words.

        Args:
            tokens: word ids, [T, B].
            state: of the recurrent layers, as torch's modules take it; None for the start of a
                text.
            words: ids of the words whose logits are computed, in rising order where there are
                bands, [n]; None for all.

        Returns:
            logits [T, B, V] or [T, B, n], and the recurrent state after the last time step.
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


# --- layers --------------------------------------------------------------------------------------


def _embedding(rows: int, size: int, bands: tuple[int, ...], initialize: Initializer) -> nn.Module:
    """The table of the words' vectors.

    Args:
        rows: number of words.
        size: entries of a vector.
        bands: boundaries of bands; none: one table.
        initialize: draws the weights.
    """
    table = BandedEmbedding(rows, size, bands) if bands else nn.Embedding(rows, size)
    _initialize_parts(table, initialize)
    return table


def _decoder(
    features: int, rows: int, bands: tuple[int, ...], initialize: Initializer
) -> nn.Module:
    """The linear layer that gives the logits.

    Args:
        features: entries of an input.
        rows: number of words.
        bands: boundaries of bands; none: one layer.
        initialize: draws the weights.
    """
    layer = BandedLinear(features, rows, bands) if bands else IntegerLinear(features, rows)
    _initialize_parts(layer, initialize)
    return layer


def _initialize_parts(table: nn.Module, initialize: Initializer) -> None:
    """Initialize a table, whether it is cut into bands or not."""
    for part in [*table.children()] or [table]:
        initialize(part)


def _stack(cell: Cell, sizes: list[int], dropout: float, initial: float) -> Recurrent:
    """Recurrent layers whose cell, or initial state, torch's modules do not have.

    Args:
        cell: of all layers.
        sizes: the features of the first layer, then the units of each.
        dropout: probability between layers.
        initial: value of the recurrent state at the start of a text.
    """
    layers = [
        RecurrentLayer(cell, features, units, bidirectional=False, bias=True, initial=initial)
        for features, units in pairwise(sizes)
    ]
    return Recurrent(layers, dropout=dropout, batch_first=False)


# --- checks --------------------------------------------------------------------------------------


def _check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise a UserError where a value is not one of those allowed.

    Args:
        name: of the setting.
        value: that was given.
        allowed: the names to choose from.
    """
    if value not in [*allowed]:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, got {shown(value)}")


def _check_ranges(dropout: object, rectified: object, initial: object) -> None:
    """Raise a UserError where one of these settings is out of its range.

    Args:
        dropout: must be in [0, 1).
        rectified: must be a bool.
        initial: must be in [0, 1].
    """
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:  # type: ignore[operator]
        raise UserError(f"dropout must be in [0, 1), got {shown(dropout)}")
    check_flags(rectified=rectified)
    if type(initial) not in (int, float) or not 0 <= initial <= 1:  # type: ignore[operator]
        raise UserError(f"initial must be in [0, 1], got {shown(initial)}")
