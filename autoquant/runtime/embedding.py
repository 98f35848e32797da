"""An embedding whose table stays packed."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.runtime.weight import PackedWeight


class PackedEmbedding(nn.Module):
    """nn.Embedding with a packed table [words, units]; only rows that are looked up are decoded.

    Args:
        like: the embedding whose sizes and padding index it takes.
    """

    def __init__(self, like: nn.Embedding, table: PackedWeight) -> None:
        super().__init__()
        self.num_embeddings = table.rows
        self.embedding_dim = table.columns
        self.padding_idx = like.padding_idx
        self.max_norm = like.max_norm
        self.norm_type = like.norm_type
        self.table = table

    @property
    def weight(self) -> Tensor:
        """The table, decoded at each call: for code that reads it, not for speed."""
        return self.table.values()

    def forward(self, words: Tensor) -> Tensor:
        """words [...] -> vectors [..., units]."""
        if self.max_norm is not None:  # torch shortens the rows in the table itself
            return F.embedding(words, self.weight, None, self.max_norm, self.norm_type)
        return self.table.lookup(words)
