"""Layers that run from packed codes: what a packed file becomes when it is loaded."""

from autoquant.runtime.embedding import PackedEmbedding
from autoquant.runtime.linear import PackedLinear
from autoquant.runtime.recurrent import PackedRecurrentLayer
from autoquant.runtime.stack import PackedRecurrent
from autoquant.runtime.weight import PackedWeight

__all__ = [
    "PackedEmbedding",
    "PackedLinear",
    "PackedRecurrent",
    "PackedRecurrentLayer",
    "PackedWeight",
]
