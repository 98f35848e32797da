"""A linear layer whose weight stays packed."""

from __future__ import annotations

from torch import Tensor, nn

from autoquant.kernels import linear
from autoquant.quantization.fake_quantize import ActivationQuantizer
from autoquant.runtime.integer_linear import Affine, plain, rule_for
from autoquant.runtime.prepared import Prepared
from autoquant.runtime.weight import PackedWeight


class PackedLinear(Prepared):
    """nn.Linear with a packed weight [out, in]; a float bias and an input quantizer may be None.

    The product runs on integers where the input is quantized to at most 8 bits and lies, in
    float32, on the CPU; else the weight is decoded for the length of the call.
    """

    _ready: Affine | None

    bias: Tensor | None

    def __init__(
        self, packed: PackedWeight, bias: Tensor | None, quantizer: ActivationQuantizer | None
    ) -> None:
        super().__init__()
        self.out_features = packed.rows
        self.in_features = packed.columns
        self.packed = packed
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.input_quantizer = quantizer

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
        return linear(quantized, self.weight, self.bias)

    def _prepared(self) -> Affine | None:
        if self._ready is None:
            rule = rule_for(self.input_quantizer, self.packed)
            self._ready = Affine(self.packed, self.bias, rule) if rule else None
        return self._ready
