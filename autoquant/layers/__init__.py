"""Layer kinds: the modules that autoquant quantizes and grows, one family a file.

Every module of this folder is imported here, so that a kind is known as soon as its file exists.
"""

from importlib import import_module
from pkgutil import iter_modules

from autoquant.layers.registry import LayerKind, kind_of, layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec, grown_units

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = [
    "Axis",
    "LayerKind",
    "LayerSpec",
    "ParameterSpec",
    "grown_units",
    "kind_of",
    "layer_kind",
]
