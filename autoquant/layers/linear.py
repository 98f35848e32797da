"""Linear: y = x W^T + b, weight [out, in]; the product may run on integer codes."""

from __future__ import annotations

from torch import Tensor, nn

from autoquant.kernels import linear
from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec


class IntegerLinear(nn.Linear):
    """nn.Linear by ``kernels.linear``: on integers where input and weight are marked with codes."""

    @classmethod
    def adopt(cls, module: nn.Linear) -> None:
        """Make a plain nn.Linear one of these, in place; it keeps its parameters and hooks."""
        module.__class__ = cls

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs [..., in] -> [..., out]."""
        return linear(inputs, self.weight, self.bias)


@layer_kind(IntegerLinear)
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
