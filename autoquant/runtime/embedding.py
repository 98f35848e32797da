"""An embedding whose table stays packed."""

from __future__ import annotations

from torch import Tensor, nn

from autoquant.layers.embedding import without_padding
from autoquant.runtime.registry import Parameters, Quantizers, packed_form
from autoquant.runtime.weight import PackedWeight


class PackedEmbedding(nn.Embedding):
    """nn.Embedding with a packed table; only rows that are looked up are decoded.

    Args:
        module: the embedding whose padding index it takes.
        table: [words, units].
    """

    max_norm, norm_type = None, 2.0  # see graph.plain_modules
    scale_grad_by_freq = sparse = False  # of gradients, which there are none of

    def __init__(self, module: nn.Embedding, table: PackedWeight) -> None:
        nn.Module.__init__(self)
        self.num_embeddings = table.rows
        self.embedding_dim = table.columns
        self.padding_idx = module.padding_idx
        self.table = table
        if self.padding_idx is not None and table.grid.offset:
            table.watch(self.padding_idx)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The table, decoded at each call: for code that reads it, not for speed."""
        return self.table.values()

    def forward(self, input: Tensor) -> Tensor:
        """Look up.

        Args:
            input: indices [...].

        Returns:
            vectors [..., units].
        """
        vectors = self.table.lookup(input)
        for padding, is_zero in self.table.zero_rows.items():
            vectors = without_padding(vectors, input, padding) if is_zero else vectors
        return vectors


@packed_form(nn.Embedding)
def pack_embedding(
    module: nn.Embedding, parameters: Parameters, quantizers: Quantizers
) -> PackedEmbedding | None:
    """See ``PackedForm.__call__``: a PackedEmbedding, unless the table is stored as floats."""
    table = parameters["weight"]
    return PackedEmbedding(module, table) if isinstance(table, PackedWeight) else None
