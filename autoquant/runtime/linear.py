"""A linear layer whose weight stays packed."""

from __future__ import annotations

from torch import Tensor, nn

from autoquant.kernels import linear
from autoquant.layers.linear import IntegerLinear
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.linear_call import LinearCall, integer_inputs, kernels_suit
from autoquant.runtime.registry import Parameters, Quantizers, packed_form
from autoquant.runtime.weight import PackedWeight


class PackedLinear(CachingModule, nn.Linear):
    """nn.Linear with a packed weight.

    The product runs on integers where the input is quantized to at most 8 bits and is float32 on
    the CPU; else the weight is decoded for the duration of the call.

    Args:
        packed: the weight, [out, in].
        bias: [out], float, or None.
        quantizer: of the input, or None.
    """

    _cached: LinearCall | None

    bias: Tensor | None  # type: ignore[assignment]

    def __init__(
        self, packed: PackedWeight, bias: Tensor | None, quantizer: ActivationQuantizer | None
    ) -> None:
        nn.Module.__init__(self)
        self.out_features = packed.rows
        self.in_features = packed.columns
        self.packed = packed
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.input_quantizer = quantizer

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, decoded at each call: for code that reads it, not for speed."""
        return self.packed.values()

    def forward(self, inputs: Tensor) -> Tensor:
        """The product, and the bias.

        Args:
            inputs: [..., in].

        Returns:
            [..., out].
        """
        call = self._call() if kernels_suit(inputs) else None
        if call is not None and inputs.numel():
            outputs = call(inputs.reshape(-1, self.in_features).contiguous())
            if outputs is not None:
                return outputs.view(*inputs.shape[:-1], self.out_features)
        quantized = inputs if self.input_quantizer is None else self.input_quantizer(inputs)
        return linear(quantized, self.weight, self.bias)

    def _call(self) -> LinearCall | None:
        if self._cached is None:
            params = integer_inputs(self.input_quantizer, self.packed)
            self._cached = LinearCall(self.packed, self.bias, params) if params else None
        return self._cached


@packed_form(IntegerLinear)
@packed_form(nn.Linear)
def pack_linear(
    module: nn.Linear, parameters: Parameters, quantizers: Quantizers
) -> PackedLinear | None:
    """See ``PackedForm.__call__``: a PackedLinear, unless the weight is stored as floats."""
    weight, bias = parameters["weight"], parameters.get("bias")
    if not isinstance(weight, PackedWeight):
        return None
    assert not isinstance(bias, PackedWeight)
    return PackedLinear(weight, bias, quantizers.get("input_quantizer"))
