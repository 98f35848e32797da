"""Convolutions: weight [out, in / groups, *kernel], transposed ones [in, out / groups, *kernel].

With groups, channels are treated in blocks: the weight's second axis stays, and blocks are what
grows. A depthwise convolution's units are its input's.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec


def _spec(name: str, kind: str, module: Any, weight: tuple[Axis, ...]) -> LayerSpec:
    out, features = module.out_channels, module.in_channels
    parameters = [ParameterSpec("weight", weight, "weight")]
    if module.bias is not None:
        parameters.append(ParameterSpec("bias", (Axis("out", out),), "bias"))
    return LayerSpec(name, kind, tuple(parameters), out, features, blocks=module.groups)


def _sizes(spec: LayerSpec) -> dict[str, int]:
    return {"out_channels": spec.units, "in_channels": spec.features, "groups": spec.blocks}


def _kernel(module: Any) -> list[Axis]:
    return [Axis("fixed", size) for size in module.kernel_size]


@layer_kind(nn.Conv1d, 1)
@layer_kind(nn.Conv2d, 2)
@layer_kind(nn.Conv3d, 3)
class Convolution:
    """torch.nn.Conv1d, Conv2d and Conv3d."""

    def __init__(self, dims: int) -> None:
        self.name = f"conv{dims}d"
        self.axis = -1 - dims

    def describe(self, name: str, module: Any) -> LayerSpec:
        channels = module.in_channels // module.groups
        inputs = Axis("in" if module.groups == 1 else "fixed", channels)
        axes = (Axis("out", module.out_channels), inputs, *_kernel(module))
        return _spec(name, self.name, module, axes)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return _sizes(spec)


@layer_kind(nn.ConvTranspose1d, 1)
@layer_kind(nn.ConvTranspose2d, 2)
@layer_kind(nn.ConvTranspose3d, 3)
class TransposedConvolution:
    """torch.nn.ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    def __init__(self, dims: int) -> None:
        self.name = f"convtranspose{dims}d"
        self.axis = -1 - dims

    def describe(self, name: str, module: Any) -> LayerSpec:
        out = module.out_channels // module.groups
        plain = module.groups == 1
        axes = (
            Axis("in" if plain else "apart", module.in_channels),
            Axis("out" if plain else "fixed", out),
            *_kernel(module),
        )
        return _spec(name, self.name, module, axes)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return _sizes(spec)
