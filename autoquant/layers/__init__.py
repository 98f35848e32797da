"""The kinds of layer that autoquant quantizes and grows."""

from autoquant.layers import (
    attention,
    cells,
    convolution,
    embedding,
    linear,
    norm,
    recurrent,
    stack,
)
from autoquant.layers.registry import LayerKind, kind_of, layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec, grown_units

__all__ = [
    "Axis",
    "LayerKind",
    "LayerSpec",
    "ParameterSpec",
    "attention",
    "cells",
    "convolution",
    "embedding",
    "grown_units",
    "kind_of",
    "layer_kind",
    "linear",
    "norm",
    "recurrent",
    "stack",
]
