"""An embedding whose table stays packed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.runtime.registry import Parameters, Quantizers, packed_form
from autoquant.runtime.weight import PackedWeight


class PackedEmbedding(nn.Module):
    """nn.Embedding with a packed table; only rows that are looked up are decoded.

    Args:
        module: the embedding whose padding index and norm it takes.
        table: [words, units].
    """

    def __init__(self, module: nn.Embedding, table: PackedWeight) -> None:
        super().__init__()
        self.num_embeddings = table.rows
        self.embedding_dim = table.columns
        self.padding_idx = module.padding_idx
        self.max_norm = module.max_norm
        self.norm_type = module.norm_type
        self.table = table

    @property
    def weight(self) -> Tensor:
        """The table, decoded at each call: for code that reads it, not for speed."""
        return self.table.values()

    def forward(self, input: Tensor) -> Tensor:
        """Look up.

        Args:
            input: indices [...].

        Returns:
            vectors [..., units].
        """
        if self.max_norm is None:
            return self.table.lookup(input)
        distinct, places = torch.unique(input, return_inverse=True)
        vectors = self.table.lookup(distinct)
        return F.embedding(places, vectors, None, self.max_norm, self.norm_type)


@packed_form(nn.Embedding)
def pack_embedding(
    module: nn.Embedding, parameters: Parameters, quantizers: Quantizers
) -> PackedEmbedding | None:
    """See ``PackedForm.__call__``: a PackedEmbedding, unless the table is stored as floats."""
    table = parameters["weight"]
    return PackedEmbedding(module, table) if isinstance(table, PackedWeight) else None
