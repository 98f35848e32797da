"""Convolutions: weight [out, in / groups, *kernel], transposed ones [in, out / groups, *kernel].

With groups, each block of channels has weights of its own: the weight's second axis never changes,
and the number of blocks grows. A depthwise convolution's units are those of its input.
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
    """torch.nn.Conv1d, ConvTranspose1d, and those of two and three dimensions.

    Args:
        dims: axes of the input that the kernel moves along: 1, 2 or 3.
        variant: "" or "transpose"; part of the kind's name.
    """

    def __init__(self, dims: int, variant: str = "") -> None:
        self.name = f"conv{variant}{dims}d"
        self.axis = -1 - dims
        self._transposed = bool(variant)

    def describe(self, name: str, module: Any) -> LayerSpec:
        """See ``LayerKind.describe``."""
        out, features, groups = module.out_channels, module.in_channels, module.groups
        axes = (
            _transposed_axes(out, features, groups)
            if self._transposed
            else _axes(out, features, groups)
        )
        kernel = (Axis("fixed", size) for size in module.kernel_size)
        parameters = weight_and_bias((*axes, *kernel), out, bias=module.bias is not None)
        return LayerSpec(name, self.name, parameters, out, features, blocks=groups)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"out_channels": spec.units, "in_channels": spec.features, "groups": spec.blocks}


def _axes(out: int, features: int, groups: int) -> tuple[Axis, Axis]:
    """The first two axes of a convolution's weight.

    Args:
        out: output channels.
        features: input channels.
        groups: blocks of channels.
    """
    return Axis("out", out), Axis("in" if groups == 1 else "fixed", features // groups)


def _transposed_axes(out: int, features: int, groups: int) -> tuple[Axis, Axis]:
    """See ``_axes``: those of a transposed convolution's weight."""
    if groups == 1:
        return Axis("in", features), Axis("out", out)
    return Axis("grouped", features), Axis("fixed", out // groups)
