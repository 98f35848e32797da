"""Convolutions: weight [out, in / groups, *kernel], transposed ones [in, out / groups, *kernel].

With groups, channels are treated in blocks: the weight's second axis stays, and blocks are what
grows. A depthwise convolution's units are its input's.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, weight_and_bias


@layer_kind(nn.Conv1d, 1)
@layer_kind(nn.Conv2d, 2)
@layer_kind(nn.Conv3d, 3)
@layer_kind(nn.ConvTranspose1d, 1, "transpose")
@layer_kind(nn.ConvTranspose2d, 2, "transpose")
@layer_kind(nn.ConvTranspose3d, 3, "transpose")
class Convolution:
    """torch.nn.Conv1d, ConvTranspose1d, and those of two and three dimensions."""

    def __init__(self, dims: int, way: str = "") -> None:
        self.name = f"conv{way}{dims}d"
        self.axis = -1 - dims
        self._transposed = bool(way)

    def describe(self, name: str, module: Any) -> LayerSpec:
        out, features, groups = module.out_channels, module.in_channels, module.groups
        axes = (
            _transposed(out, features, groups)
            if self._transposed
            else _plain(out, features, groups)
        )
        kernel = (Axis("fixed", size) for size in module.kernel_size)
        parameters = weight_and_bias((*axes, *kernel), out, bias=module.bias is not None)
        return LayerSpec(name, self.name, parameters, out, features, blocks=groups)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return {"out_channels": spec.units, "in_channels": spec.features, "groups": spec.blocks}


def _plain(out: int, features: int, groups: int) -> tuple[Axis, Axis]:
    return Axis("out", out), Axis("in" if groups == 1 else "fixed", features // groups)


def _transposed(out: int, features: int, groups: int) -> tuple[Axis, Axis]:
    if groups == 1:
        return Axis("in", features), Axis("out", out)
    return Axis("apart", features), Axis("fixed", out // groups)
