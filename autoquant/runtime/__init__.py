"""Layers that run from packed codes: what a packed file becomes when it is loaded.

Every module of this folder is imported here, so that a packed form is known as soon as its file
exists.
"""

from importlib import import_module
from pkgutil import iter_modules

from autoquant.runtime.embedding import PackedEmbedding
from autoquant.runtime.linear import PackedLinear
from autoquant.runtime.recurrent import PackedRecurrentLayer
from autoquant.runtime.registry import packed_form, packed_form_of
from autoquant.runtime.stack import PackedRecurrent
from autoquant.runtime.weight import PackedWeight

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = [
    "PackedEmbedding",
    "PackedLinear",
    "PackedRecurrent",
    "PackedRecurrentLayer",
    "PackedWeight",
    "packed_form",
    "packed_form_of",
]
