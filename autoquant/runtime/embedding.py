"""An embedding whose table stays packed."""

from __future__ import annotations

import torch
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
        if self.max_norm is None:
            return self.table.lookup(words)
        known, places = torch.unique(words, return_inverse=True)
        rows = self.table.lookup(known)
        return F.embedding(places, rows, None, self.max_norm, self.norm_type)
