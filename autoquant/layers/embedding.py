"""Embedding: lookup of rows in a table [words, units]. Its input, an index, is never quantized."""

from __future__ import annotations

from torch import nn

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
