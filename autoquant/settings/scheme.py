"""Scheme: how numbers become codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoquant.plan import Bits, LayerChoice
from autoquant.settings.base import Settings
from autoquant.settings.checks import check_types, require
from autoquant.settings.extension_names import GRIDS, SCALES

SCHEME_VALUES: dict[str, Sequence[object]] = {
    "granularity": ("channel", "tensor"),
    "grid": GRIDS,
    "reparametrization": ("none", "tanh"),
    "clip_gradient": ("mask", "pass"),
    "scale_bits": (8, 16, 32),
    "bias_bits": (1, 2, 3, 4, 5, 6, 7, 8, 16, 32),
    "activation_scale": ("learned", "unit"),
    "norms": ("float", "half"),
}
"""Fields of a Scheme that are one of several values."""


@dataclass(frozen=True)
class Scheme(Settings):
    """How numbers become codes: one rule for every layer of a plan.

    The defaults are learned scales (LSQ, Esser et al. 2020) that start at the value with the
    smallest mean squared error. ``Scheme.bit_rnn()`` is the quantizer of He et al. 2016, which the
    paper uses; each difference is a field here.

    Attributes:
        scale: Scale of weights: "learned" from an MSE-optimal start, "fixed" at that start, or
            "mean": 2.5 * mean|W| over all levels, recomputed at every step, without gradient
            (Bit-RNN). A rule of your own: its import path (see autoquant.quantization.scale_rules).
        granularity: "channel": one scale for each output channel (row); "tensor": one for all of
            them.
        grid: Levels of weights: "midrise" has none at zero, "midtread" has one; "auto" is midrise
            up to 3 bits, where a level at zero uses a large share of the levels. 1.6 bits always
            have one. A number format of your own: its name (see autoquant.quantization.formats).
        reparametrization: "tanh": the trained parameter is V and the weight is tanh(V), at any
            number of bits.
        clip_gradient: Gradient of clipped values: "mask" stops it (LSQ), "pass" lets it through
            (Bit-RNN).
        joint_recurrent: One mean for the input and recurrent weights of a layer together (Bit-RNN;
            "mean" only). The GRU of Bit-RNN has two: of its gates, and of its candidate.
        scale_bits: Bits of a stored scale of weights: 16 (bfloat16), 32, or 8: powers of 2**(1/16),
            an error of at most 2.2%. A single scale for a tensor takes bfloat16 then, in as many
            bytes.
        bias_bits: Bits of biases: 1-8, 16 (half precision) or 32.
        activation_scale: "learned" from a calibrated start, or "unit": the range [0, 1] is assumed
            (Bit-RNN).
        activation_clip: Whether activations outside the range are clipped; Bit-RNN does not.
        norms: How batch norms are stored: "float" keeps weight, bias, mean and variance in float32;
            "half" stores a scale and a shift in half precision, a quarter of the bytes, which
            scores and packed model compute with; in training the norm uses the batch's statistics,
            unrounded. Other norms are always float32.
    """

    scale: str = "learned"
    granularity: str = "channel"
    grid: str = "auto"
    reparametrization: str = "none"
    clip_gradient: str = "mask"
    joint_recurrent: bool = False
    scale_bits: int = 16
    bias_bits: int = 16
    activation_scale: str = "learned"
    activation_clip: bool = True
    norms: str = "float"

    def __post_init__(self) -> None:
        for field_, allowed in SCHEME_VALUES.items():
            value = getattr(self, field_)
            requirement = f"quantizer.{field_} must be one of {', '.join(map(str, allowed))}"
            require(value in allowed, requirement, value)
        check_types(self, "quantizer.")
        requirement = f"quantizer.scale must be one of {', '.join(SCALES)}, or an import path"
        require(SCALES.allows(self.scale), requirement, self.scale)
        require(
            not self.joint_recurrent or self.scale == "mean",
            "quantizer.joint_recurrent needs quantizer.scale=mean",
            self.scale,
        )
        require(
            self.scale != "mean" or self.granularity == "tensor",
            "quantizer.scale=mean needs quantizer.granularity=tensor",
            self.granularity,
        )

    def bits_of(self, role: str, choice: LayerChoice) -> Bits:
        """Bits of a layer's "weight", "recurrent" or "bias" parameters.

        Args:
            role: which of the parameters.
            choice: the plan's choice for the layer; biases do not depend on it.
        """
        return self.bias_bits if role == "bias" else choice.bits_of(role)

    @classmethod
    def bit_rnn(cls, **changes: Any) -> Scheme:
        """Bit-RNN's quantizer (He et al. 2016, section 3; Kapur et al., section 3).

        Args:
            changes: fields that get other values.
        """
        values: dict[str, Any] = {
            "scale": "mean",
            "granularity": "tensor",
            "grid": "midrise",
            "reparametrization": "tanh",
            "clip_gradient": "pass",
            "joint_recurrent": True,
            "scale_bits": 32,
            "bias_bits": 32,
            "activation_scale": "unit",
            "activation_clip": False,
        }
        return cls(**(values | changes))
