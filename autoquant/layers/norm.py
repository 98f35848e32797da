"""Norms over each channel, or each group of channels: they follow the units of their input.

A LayerNorm looks across all of its units: units before it cannot grow one by one, and it needs no
kind of its own.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec

NAMES = ("weight", "bias", "running_mean", "running_var")


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
    """BatchNorm, InstanceNorm and GroupNorm; with groups of channels, whole groups grow."""

    def __init__(self, name: str, axis: int, size: str) -> None:
        self.name = name
        self.axis = axis
        self._size = size

    def describe(self, name: str, module: Any) -> LayerSpec:
        units = getattr(module, self._size)
        parameters = tuple(
            ParameterSpec(each, (Axis("out", units),), "norm")
            for each in NAMES
            if getattr(module, each, None) is not None
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
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        groups = {"num_groups": spec.blocks} if self.name == "groupnorm" else {}
        return {self._size: spec.units} | groups
