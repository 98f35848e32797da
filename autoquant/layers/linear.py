"""Linear: y = x W^T + b, weight [out, in]; the product may run on integer codes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autoquant.kernels import linear
from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, weight_and_bias
from autoquant.layers.subclasses import combined
from autoquant.quantization.codes import rows_of


class IntegerLinear(nn.Linear):
    """nn.Linear by ``kernels.linear``: on integers where input and weight have codes."""

    @classmethod
    def adopt(cls, module: nn.Linear) -> None:
        """Make an nn.Linear one of these, in place; it keeps its parameters and hooks.

        Args:
            module: of nn.Linear itself, or of a subclass that runs as nn.Linear does: it stays an
                instance of that subclass.
        """
        users = type(module)
        new: Any = cls if users is nn.Linear else combined(cls, users)
        module.__class__ = new

    def forward(self, input: Tensor, units: Tensor | None = None) -> Tensor:
        """The product, and the bias.

        Args:
            input: [..., in].
            units: indices [n] of the outputs that are computed; None for all.

        Returns:
            [..., out], or [..., n].
        """
        if units is None:
            return linear(input, self.weight, self.bias)
        bias: Tensor | None = self.bias
        return linear(input, rows_of(self.weight, units), None if bias is None else bias[units])


@layer_kind(IntegerLinear)
@layer_kind(nn.Linear)
class Linear:
    """torch.nn.Linear."""

    name = "linear"

    def describe(self, name: str, module: nn.Linear) -> LayerSpec:
        """See ``LayerKind.describe``."""
        out, features = module.out_features, module.in_features
        axes = Axis("out", out), Axis("in", features)
        parameters = weight_and_bias(axes, out, bias=module.bias is not None)
        return LayerSpec(name, self.name, parameters, out, features)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"out_features": spec.units, "in_features": spec.features}


@layer_kind(nn.Bilinear)
class Bilinear:
    """torch.nn.Bilinear: y = x A z + b, weight [out, in of x, in of z]; z's width is fixed."""

    name = "bilinear"

    def describe(self, name: str, module: nn.Bilinear) -> LayerSpec:
        """See ``LayerKind.describe``."""
        out, features = module.out_features, module.in1_features
        axes = Axis("out", out), Axis("in", features), Axis("fixed", module.in2_features)
        parameters = weight_and_bias(axes, out, bias=module.bias is not None)
        return LayerSpec(name, self.name, parameters, out, features)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"out_features": spec.units, "in1_features": spec.features}


@layer_kind("transformers.pytorch_utils.Conv1D")
class TransposedLinear:
    """Hugging Face's Conv1D: a linear layer with weight [in, out]."""

    name = "linear"

    def describe(self, name: str, module: Any) -> LayerSpec:
        """See ``LayerKind.describe``."""
        features, out = module.weight.shape
        parameters = weight_and_bias((Axis("in", features), Axis("out", out)), out, bias=True)
        return LayerSpec(name, self.name, parameters, out, features)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        return {"nf": spec.units, "nx": spec.features}
