"""Embedding: lookup of rows in a table [words, units]. Its input, an index, is never quantized.

A padding row of zeros stays zero, also on grids without a level at zero: a padding row whose codes
are all 0, the code nearest to zero, is looked up as zeros. A layer that shares the table reads that
row as it is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec


@layer_kind(nn.EmbeddingBag)
@layer_kind(nn.Embedding)
class Embedding:
    """torch.nn.Embedding and EmbeddingBag."""

    name = "embedding"

    def describe(self, name: str, module: nn.Embedding | nn.EmbeddingBag) -> LayerSpec:
        """See ``LayerKind.describe``."""
        words, units = module.num_embeddings, module.embedding_dim
        table = ParameterSpec("weight", (Axis("fixed", words), Axis("out", units)), "weight")
        return LayerSpec(name, self.name, (table,), units, words, multiplies=False)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"embedding_dim": spec.units}


def padding_row(module: nn.Module) -> int | None:
    """The index of the row that a module looks up for padding; None where it has none.

    Args:
        module: nn.EmbeddingBag has none: it leaves padding out.
    """
    return module.padding_idx if isinstance(module, nn.Embedding) else None


def without_padding(
    vectors: Tensor, words: Tensor, padding: int, is_zero: Tensor | None = None
) -> Tensor:
    """Vectors that were looked up, with zeros for padding.

    Args:
        vectors: [..., units].
        words: indices [...].
        padding: index of the padding row.
        is_zero: a boolean: where it is false, the vectors stay as they are.
    """
    masked = words == padding if is_zero is None else (words == padding) & is_zero
    return vectors.masked_fill(masked[..., None], 0)


@torch.no_grad()
def keep_padding(module: nn.Module, before: Tensor, after: Tensor) -> None:
    """Set the padding row of a table that has grown to zeros where it was zeros before.

    Args:
        module: of any kind; only nn.Embedding has a padding row.
        before: the table, [words, units].
        after: the same with more units; changed in place.
    """
    padding = padding_row(module)
    if padding is None or before.is_meta:
        return
    if not before[padding].any():
        after[padding] = 0
