"""Norms and PReLU: their units are those of their input.

Batch, instance and group norms work on each channel, or each group of channels. LayerNorm and
RMSNorm work over all units: they compute the same with more of them only if the new ones hold the
mean of the others, or zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, NewUnits, ParameterSpec

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
_TRANSFORMERS = {  # by model: norms that are all computed as LlamaRMSNorm
    "arcee": "ArceeRMSNorm",
    "deepseek_v3": "DeepseekV3RMSNorm",
    "glm": "GlmRMSNorm",
    "glm4": "Glm4RMSNorm",
    "gpt_oss": "GptOssRMSNorm",
    "granite": "GraniteRMSNorm",
    "llama": "LlamaRMSNorm",
    "longt5": "LongT5LayerNorm",
    "minimax": "MiniMaxRMSNorm",
    "mistral": "MistralRMSNorm",
    "mixtral": "MixtralRMSNorm",
    "mt5": "MT5LayerNorm",
    "olmo2": "Olmo2RMSNorm",
    "olmo3": "Olmo3RMSNorm",
    "phi3": "Phi3RMSNorm",
    "qwen2": "Qwen2RMSNorm",
    "qwen2_moe": "Qwen2MoeRMSNorm",
    "qwen3": "Qwen3RMSNorm",
    "qwen3_moe": "Qwen3MoeRMSNorm",
    "smollm3": "SmolLM3RMSNorm",
    "t5": "T5LayerNorm",
    "umt5": "UMT5LayerNorm",
}


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
        return LayerSpec(
            name,
            self.name,
            _parameters(module, units, PARAMETERS),
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
        return LayerSpec(
            name,
            self.name,
            _parameters(module, units, ("weight",)),
            units,
            units,
            multiplies=False,
            follows=True,
            blocks=units,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"num_parameters": spec.units}


@layer_kind(nn.LayerNorm, "layernorm", "mean")
@layer_kind("timm.layers.norm.LayerNorm", "layernorm", "mean")
@layer_kind("timm.layers.norm.LayerNorm2d", "layernorm", "mean", 1)
@layer_kind("torchvision.models.convnext.LayerNorm2d", "layernorm", "mean", 1)
@layer_kind(nn.RMSNorm, "rmsnorm", "zeros")
@layer_kind("timm.layers.norm.RmsNorm", "rmsnorm", "zeros")
class NormOverUnits:
    """LayerNorm and RMSNorm with a gain, over one axis.

    From D to D' units the mean square (of a LayerNorm around a mean that stays) falls by D / D'.
    With eps times D / D' and the gain times its root, the old units keep their values.

    Args:
        name: of the kind.
        new_units: see ``LayerSpec``.
        axis: of the units.
    """

    eps = "eps"  # the attribute of the module

    def __init__(self, name: str, new_units: NewUnits, axis: int = -1) -> None:
        self.name = name
        self.axis = axis
        self._new_units = new_units

    def covers(self, module: Any) -> bool:
        """See ``LayerKind.covers``: those with a gain, and one axis."""
        return module.weight is not None and module.weight.ndim == 1

    def describe(self, name: str, module: Any) -> LayerSpec:
        """See ``LayerKind.describe``."""
        units, eps = len(module.weight), getattr(module, self.eps)
        return LayerSpec(
            name,
            self.name,
            _parameters(module, units, ("weight", "bias")),
            units,
            units,
            multiplies=False,
            follows=True,
            eps=torch.finfo(module.weight.dtype).eps if eps is None else eps,
            new_units=self._new_units,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, Any]:
        """See ``LayerKind.attributes``."""
        if spec.original is None:
            return {}
        return {"normalized_shape": (spec.units,), self.eps: spec.eps}


class TransformersNorm(NormOverUnits):
    """RMSNorm as Hugging Face writes it; its sizes are those of its gain."""

    eps = "variance_epsilon"

    def attributes(self, spec: LayerSpec) -> dict[str, Any]:
        """See ``LayerKind.attributes``."""
        return {} if spec.original is None else {self.eps: spec.eps}


def _parameters(module: nn.Module, units: int, names: Sequence[str]) -> tuple[ParameterSpec, ...]:
    """Those of some tensors that a module has, each with one entry for each unit.

    Args:
        module: a norm or a PReLU.
        units: number of its units.
        names: of the tensors.
    """
    return tuple(
        ParameterSpec(name, (Axis("out", units),), "norm")
        for name in names
        if getattr(module, name, None) is not None
    )


for _model, _class in _TRANSFORMERS.items():
    _full_name = f"transformers.models.{_model}.modeling_{_model}.{_class}"
    layer_kind(_full_name, "rmsnorm", "zeros")(TransformersNorm)
