"""Linear: y = x W^T + b, weight [out, in]."""

from __future__ import annotations

from torch import nn

from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec


@layer_kind(nn.Linear)
class Linear:
    """torch.nn.Linear."""

    name = "linear"

    def describe(self, name: str, module: nn.Linear) -> LayerSpec:
        out, features = module.out_features, module.in_features
        parameters = [ParameterSpec("weight", (Axis("out", out), Axis("in", features)), "weight")]
        if module.bias is not None:
            parameters.append(ParameterSpec("bias", (Axis("out", out),), "bias"))
        return LayerSpec(name, self.name, tuple(parameters), out, features)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return {"out_features": spec.units, "in_features": spec.features}
