"""The next-word model of the language tasks: Embedding -> recurrent layers -> Linear."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.layers.linear import IntegerLinear

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
CellName = Literal["lstm", "gru"]


class LanguageModel(nn.Module):
    """Next-word model.

    Args:
        vocabulary: number of words V.
        embedding: size E of a word's vector.
        hidden: units H of each recurrent layer.
        layers: number of stacked recurrent layers.
        dropout: probability on the embedding, between layers and before the decoder.
        cell: "lstm" or "gru".
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 300,
        hidden: int = 300,
        layers: int = 1,
        dropout: float = 0.5,
        cell: CellName = "lstm",
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise UserError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        for name, size in (("embedding", embedding), ("hidden", hidden), ("layers", layers)):
            if type(size) is not int or size < 1:
                raise UserError(f"{name} must be a whole number from 1 up, got {size!r}")
        if type(dropout) not in (int, float) or not 0 <= dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {dropout!r}")
        self.embedding = nn.Embedding(vocabulary, embedding)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](embedding, hidden, layers, dropout=between)
        self.decoder = IntegerLinear(hidden, vocabulary)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """tokens [T, B] -> logits [T, B, V] and the recurrent state after the last step.

        With ``words``, ids [n], only the logits [T, B, n] of these words are computed.
        """
        vectors = self.dropout(self.embedding(tokens))  # [T, B, E]
        outputs, state = self.rnn(vectors, state)  # [T, B, H]
        outputs = self.dropout(outputs)
        logits = self.decoder(outputs) if words is None else self.decoder(outputs, words)
        return logits, state
