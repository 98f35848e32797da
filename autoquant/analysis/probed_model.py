"""ProbedModel: a model quantized as a plan says, with a probe for each dimension of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from autoquant.analysis.quantizer_probe import QuantizerProbe, Slot
from autoquant.copies import copy_model
from autoquant.layers import LayerSpec
from autoquant.plan import Bits, LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.training.activations import HIDDEN_QUANTIZER, INPUT_QUANTIZER
from autoquant.training.candidate import StartingPoint
from autoquant.training.qat import observe, quantize

MOST_BITS = 16
"""Of the probed model: more bits are as exact, and would have no quantizer to put others in."""
OBSERVING_BITS = 8
"""Of an activation quantizer that observes; those of more bits do not."""


@dataclass(frozen=True)
class ProbedModel:
    """A model and its probes.

    Attributes:
        model: fake-quantized and calibrated, without gradients of parameters.
        probes: one for each dimension of bits, in the order of the space.
    """

    model: nn.Module
    probes: tuple[QuantizerProbe, ...]


def build_probed_model(
    starting_point: StartingPoint, space: SearchSpace, reference: Plan
) -> ProbedModel:
    """A copy of the float model, quantized and calibrated at a reference, with probes.

    Args:
        starting_point: the float model and the quantizer.
        space: whose dimensions of bits are probed.
        reference: bits of every layer; widths are not used.
    """
    settings, network = starting_point.settings, starting_point.network
    model = copy_model(starting_point.model)
    observing = {name: _observing(choice) for name, choice in reference.choices.items()}
    quantize(model, network, Plan(observing), settings.quantizer)
    observers = observe(model, starting_point.task, settings.seed)
    samples = {observer: observer.observed for observer in observers}
    for observer in observers:
        observer.finish()
    builder = _Builder(model, reference, space, settings.quantizer, samples)
    layers = {layer.name: layer for layer in network.layers}
    probes = tuple(builder.probe(layers[d.layer], d) for d in space.dimensions if d.is_bits)
    for probe in probes:
        probe.put(probe.reference)
    return ProbedModel(model.requires_grad_(False).eval(), probes)


def _observing(choice: LayerChoice) -> LayerChoice:
    """A choice with which every weight and activation has a quantizer; activations observe."""
    return LayerChoice(
        weight_bits=min(choice.weight_bits, MOST_BITS),
        recurrent_bits=min(choice.bits_of("recurrent"), MOST_BITS),
        activation_bits=OBSERVING_BITS,
    )


@dataclass(frozen=True)
class _Builder:
    """Builds the probes of a model.

    Attributes:
        model: quantized and calibrated.
        reference: bits of every layer.
        space: of the dimensions.
        scheme: how numbers become codes.
        samples: the values that each activation quantizer has observed.
    """

    model: nn.Module
    reference: Plan
    space: SearchSpace
    scheme: Scheme
    samples: dict[ActivationQuantizer, Any]

    def probe(self, layer: LayerSpec, dimension: Dimension) -> QuantizerProbe:
        """The probe of a dimension.

        Args:
            layer: of the dimension.
            dimension: of bits.
        """
        reference = min(self.reference[layer.name].bits_in(dimension.field), MOST_BITS)
        build = self._weight_slots if dimension.is_weight_bits else self._activation_slots
        return QuantizerProbe(dimension, reference, build(layer, dimension, reference))

    def _weight_slots(
        self, layer: LayerSpec, dimension: Dimension, reference: Bits
    ) -> tuple[Slot, ...]:
        """The places of the quantizers of a layer's weights.

        Args:
            layer: of the dimension.
            dimension: weight bits or recurrent bits.
            reference: the choice that the model has.
        """
        module, slots = self.model.get_submodule(layer.name), []
        for parameter in layer.parameters:
            if parameter.shared or parameter.role not in self._roles(dimension):
                continue
            owner: Any = module.parametrizations[parameter.name]  # type: ignore[index]
            weight = owner[0].effective(owner.original).detach()
            quantizers = {
                choice: WeightQuantizer(weight, choice, self.scheme, parameter.role)
                for choice in {*dimension.choices} - {reference}
            }
            for quantizer in quantizers.values():
                quantizer.to(weight.device)
            slots.append(Slot(owner, "0", {**quantizers, reference: owner[0]}))
        return tuple(slots)

    def _roles(self, dimension: Dimension) -> tuple[str, ...]:
        """Roles of the parameters that have the bits of a dimension."""
        if dimension.field == "recurrent_bits":
            return ("recurrent",)
        fields = {d.field for d in self.space.dimensions if d.layer == dimension.layer}
        return ("weight",) if "recurrent_bits" in fields else ("weight", "recurrent")

    def _activation_slots(
        self, layer: LayerSpec, dimension: Dimension, reference: Bits
    ) -> tuple[Slot, ...]:
        """The places of the quantizers of a layer's input or hidden state.

        Their scales are those that calibration would choose. Input bits are those of the hidden
        state too where this has no dimension of its own.

        Args:
            layer: of the dimension.
            dimension: activation bits or hidden bits.
            reference: the choice that the model has.
        """
        module = self.model.get_submodule(layer.name)
        fields = {d.field for d in self.space.dimensions if d.layer == dimension.layer}
        names = [HIDDEN_QUANTIZER if dimension.field == "hidden_bits" else INPUT_QUANTIZER]
        if layer.recurrent and "hidden_bits" not in fields:
            names.append(HIDDEN_QUANTIZER)
        choices = {*dimension.choices, reference}
        return tuple(
            Slot(module, name, self._quantizers(getattr(module, name), choices)) for name in names
        )

    def _quantizers(
        self, observer: ActivationQuantizer, choices: set[float]
    ) -> dict[float, nn.Module]:
        """Quantizers of all choices, by choice, from what one of them has observed."""
        quantizers: dict[float, nn.Module] = {}
        for choice in choices:
            quantizer = ActivationQuantizer(int(choice), self.scheme).to(observer.qmin.device)
            if quantizer.observed is not None:
                quantizer.observed = self.samples[observer]
            quantizer.finish()
            quantizers[choice] = quantizer
        return quantizers
