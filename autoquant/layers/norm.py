"""Norms over each channel or group of channels, and PReLU: their units are those of their input.

A LayerNorm normalizes over all of its units: single units before it cannot be added, and it needs
no kind of its own.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec

PARAMETERS = ("weight", "bias", "running_mean", "running_var")


@layer_kind(nn.BatchNorm1d, "batchnorm", 1, "num_features")
@layer_kind(nn.BatchNorm2d, "batchnorm", 1, "num_features")
@layer_kind(nn.BatchNorm3d, "batchnorm", 1, "num_features")
@layer_kind(nn.SyncBatchNorm, "batchnorm", 1, "num_features")
@layer_kind(nn.InstanceNorm1d, "instancenorm", -2, "num_features")
@layer_kind(nn.InstanceNorm2d, "instancenorm", -3, "num_features")
@layer_kind(nn.InstanceNorm3d, "instancenorm", -4, "num_features")
@layer_kind(nn.GroupNorm, "groupnorm", 1, "num_channels")
@layer_kind("timm.layers.norm_act.BatchNormAct2d", "batchnorm", 1, "num_features")
class Norm:
    """BatchNorm, InstanceNorm and GroupNorm; with groups of channels, whole groups are added.

    Args:
        name: of the kind.
        axis: of the channels.
        size: attribute of the module that holds the number of channels.
    """

    def __init__(self, name: str, axis: int, size: str) -> None:
        self.name = name
        self.axis = axis
        self._size = size

    def describe(self, name: str, module: Any) -> LayerSpec:
        """See ``LayerKind.describe``."""
        units = getattr(module, self._size)
        parameters = tuple(
            ParameterSpec(parameter, (Axis("out", units),), "norm")
            for parameter in PARAMETERS
            if getattr(module, parameter, None) is not None
        )
        return LayerSpec(
            name,
            self.name,
            parameters,
            units,
            units,
            multiplies=False,
            follows=True,
            blocks=getattr(module, "num_groups", units),
            eps=module.eps,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        groups = {"num_groups": spec.blocks} if self.name == "groupnorm" else {}
        return {self._size: spec.units} | groups


@layer_kind(nn.PReLU)
class PRelu:
    """torch.nn.PReLU with a slope for each channel; with a single one it works entry by entry."""

    name = "prelu"
    axis = 1

    def covers(self, module: nn.PReLU) -> bool:
        """See ``LayerKind.covers``."""
        return module.num_parameters > 1

    def describe(self, name: str, module: nn.PReLU) -> LayerSpec:
        """See ``LayerKind.describe``."""
        units = module.num_parameters
        slopes = ParameterSpec("weight", (Axis("out", units),), "norm")
        return LayerSpec(
            name,
            self.name,
            (slopes,),
            units,
            units,
            multiplies=False,
            follows=True,
            blocks=units,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"num_parameters": spec.units}
