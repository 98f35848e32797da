"""A linear layer whose weight stays packed."""

from __future__ import annotations

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.kernels import linear
from autoquant.layers.linear import IntegerLinear
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.native import is_traced
from autoquant.runtime.activation import ActivationCodes
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.linear_call import LinearCall, input_codes, kernels_suit
from autoquant.runtime.linear_operator import packed_linear
from autoquant.runtime.registry import Parameters, Quantizers, packed_form
from autoquant.runtime.weight import PackedWeight, ScaledMatrix


class PackedLinear(CachingModule, nn.Linear):
    """nn.Linear with a packed weight.

    The product runs on integers where the input is quantized to at most 8 bits and is float32 on
    the CPU; else the weight is decoded for the duration of the call.

    Args:
        packed: the weight, [out, in].
        bias: [out], float, or None.
        quantizer: of the input, or None.

    Raises:
        UserError: the bias has another length.
    """

    _cached: LinearCall | None

    bias: Tensor | None  # type: ignore[assignment]

    def __init__(
        self, packed: PackedWeight, bias: Tensor | None, quantizer: ActivationQuantizer | None
    ) -> None:
        nn.Module.__init__(self)
        if bias is not None and [*bias.shape] != [packed.rows]:
            raise UserError(f"the bias must be [{packed.rows}], got {[*bias.shape]}")
        self.out_features = packed.rows
        self.in_features = packed.columns
        self.packed = packed
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.input_quantizer = quantizer

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, decoded at each call: for code that reads it, not for speed."""
        return self.packed.values()

    def forward(self, input: Tensor) -> Tensor:
        """The product, and the bias.

        Args:
            input: [..., in].

        Returns:
            [..., out].
        """
        suits = input.shape[-1] == self.in_features and kernels_suit(input)
        outputs = self._forward_integer(input) if suits else None
        if outputs is not None:
            return outputs
        quantized = input if self.input_quantizer is None else self.input_quantizer(input)
        return linear(quantized, self.weight, self.bias)

    def _forward_integer(self, inputs: Tensor) -> Tensor | None:
        """See ``forward``; None where the product cannot run on integers."""
        if is_traced(inputs):
            weight, codes = self._operands()
            if weight is None or codes is None:
                return None
            return packed_linear(inputs, weight, self.bias, codes)
        call = self._call()
        if call is None or not inputs.numel():
            return None
        outputs = call(inputs.reshape(-1, self.in_features).contiguous())
        return None if outputs is None else outputs.view(*inputs.shape[:-1], self.out_features)

    def _operands(self) -> tuple[ScaledMatrix | None, ActivationCodes | None]:
        """The weight and how inputs become codes, as the kernels take them, where they can."""
        codes = input_codes(self.input_quantizer, self.in_features)
        return self.packed.scaled_matrix, codes

    def _call(self) -> LinearCall | None:
        if self._cached is None:
            weight, codes = self._operands()
            if weight is not None and codes is not None:
                self._cached = LinearCall(weight, self.bias, codes.params())
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
