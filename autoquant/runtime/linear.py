"""A linear layer whose weight stays packed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.quantizer import ActivationQuantizer
from autoquant.runtime.affine import Affine, plain, rule_for
from autoquant.runtime.weight import PackedWeight


class PackedLinear(nn.Module):
    """nn.Linear with a packed weight [out, in]; a float bias and an input quantizer may be None.

    The product runs on integers where the input is quantized to at most 8 bits and lies, in
    float32, on the CPU; else the weight is decoded for the length of the call.
    """

    bias: Tensor | None

    def __init__(
        self, packed: PackedWeight, bias: Tensor | None, quantizer: ActivationQuantizer | None
    ) -> None:
        super().__init__()
        self.out_features = packed.rows
        self.in_features = packed.columns
        self.packed = packed
        self.register_buffer("bias", bias, persistent=False)
        self.input_quantizer = quantizer
        self._affine: Affine | None = None

    @property
    def weight(self) -> Tensor:
        """The weight, decoded at each call: for code that reads it, not for speed."""
        return self.packed.values()

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs [..., in] -> [..., out]."""
        affine = self._prepared() if plain(inputs) else None
        if affine is not None and inputs.numel():
            result = affine(inputs.reshape(-1, self.in_features).contiguous())
            if result is not None:
                return result.view(*inputs.shape[:-1], self.out_features)
        quantized = inputs if self.input_quantizer is None else self.input_quantizer(inputs)
        return F.linear(quantized, self.weight, self.bias)

    def _prepared(self) -> Affine | None:
        if self._affine is None:
            rule = rule_for(self.input_quantizer, self.packed)
            self._affine = Affine(self.packed, self.bias, rule) if rule else None
        return self._affine

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        self._affine = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
