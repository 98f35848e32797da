"""The time of one position of a packed layer on this machine, on one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.artifact.load_layers import StoredLayer, load_layer
from autoquant.kernels import Cell
from autoquant.layers import LayerSpec
from autoquant.layers.recurrent import PROJECTION, RecurrentLayer
from autoquant.plan import LayerChoice
from autoquant.quantization.formats import CodedFormat, format_of
from autoquant.seeds import seed_torch
from autoquant.settings import Scheme
from autoquant.training.activations import build_activation_quantizers

ROUNDS = 7  # of which the fastest counts: other processes only make a round slower
ROUND_SECONDS = 5e-4  # a round calls the layer until it takes this long
FLOATS = 32  # bits of weights that stay floats in memory


def timing_choice(layer: LayerSpec, choice: LayerChoice) -> LayerChoice:
    """The choice with equal time and the fewest distinctions.

    Kernels unpack codes of whole bits, run activations of up to 8 bits as bytes, and compute
    weights of more than 8 bits in float.

    Args:
        layer: fields that have no effect on it are those of float.
        choice: of the layer.
    """

    def weight(bits: float) -> int:
        return math.ceil(bits) if bits <= 8 else FLOATS

    def activation(bits: int) -> int:
        return 8 if bits <= 8 else bits

    return LayerChoice(
        weight_bits=weight(choice.weight_bits),
        activation_bits=activation(choice.activation_bits) if layer.multiplies else 32,
        recurrent_bits=weight(choice.bits_of("recurrent")) if layer.recurrent else None,
        hidden_bits=activation(choice.state_bits) if layer.recurrent else None,
    )


def measure_layer(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> float:
    """Seconds of one position of a layer: the fastest of ROUNDS rounds.

    Linear layers, embeddings and recurrent layers (one time step of one sequence) run as from a
    packed file, with random weights. Other layers decode their weights to floats when a file is
    loaded; their time is that of a float product with the weight, whatever their bits.

    Args:
        layer: at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), _one_thread():
        seed_torch(0)
        return _fastest(_call(layer, timing_choice(layer, choice), scheme))


def _call(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> Callable[[], object]:
    """One position of a layer as a call.

    Args:
        layer: at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    spec = replace(
        layer,
        name="",
        original=None,
        parameters=tuple(replace(parameter, shared="") for parameter in layer.parameters),
    )
    if spec.recurrent:
        recurrent = _recurrent(spec)
        module: Any = _packed(recurrent, spec, choice, scheme)
        state = tuple(torch.zeros(1, width) for width in recurrent.state_widths)
        states, inputs = [state] * spec.directions, torch.randn(1, spec.features)
        return lambda: module(inputs, [1], states)
    if spec.kind == "embedding":
        rows, columns = spec.parameters[0].shape
        table = nn.Embedding(rows, columns)
        module, index = _packed(table, spec, choice, scheme), torch.zeros(1, dtype=torch.int64)
        return lambda: module(index)
    weights = [parameter.shape for parameter in spec.parameters if parameter.is_weight]
    if spec.kind == "linear" and weights == [(spec.units, spec.features)]:
        plain = nn.Linear(spec.features, spec.units, bias=len(spec.parameters) > 1)
        module, inputs = _packed(plain, spec, choice, scheme), torch.randn(1, spec.features)
        return lambda: module(inputs)
    factors = [torch.randn(shape).reshape(shape[0], -1) for shape in weights]
    vectors = [torch.randn(1, factor.shape[1]) for factor in factors]
    pairs = [*zip(vectors, factors, strict=True)]
    return lambda: [nn.functional.linear(vector, factor) for vector, factor in pairs]


def _recurrent(spec: LayerSpec) -> RecurrentLayer:
    """A recurrent layer of a layer's shapes."""
    shapes = {parameter.name: parameter.shape for parameter in spec.parameters}
    resets_first = "candidate_ih" in shapes
    cell = Cell(spec.kind, "sigmoid" if resets_first else "tanh")  # type: ignore[arg-type]
    gates = 2 if resets_first else cell.gates
    return RecurrentLayer(
        cell,
        spec.features,
        shapes["weight_ih"][0] // gates,
        bidirectional=spec.directions == 2,
        bias="bias" in shapes,
        projection=spec.units if PROJECTION in shapes else 0,
    )


def _packed(module: nn.Module, spec: LayerSpec, choice: LayerChoice, scheme: Scheme) -> nn.Module:
    """A module as a packed file's: random codes, quantizers with some scale.

    Args:
        module: with parameters of the layer's shapes.
        spec: of the layer, which has no name.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    tensors: dict[str, Tensor] = {}
    for parameter in spec.parameters:
        number_format, values = (
            format_of(scheme, parameter.role, choice),
            torch.randn(parameter.shape),
        )
        if isinstance(number_format, CodedFormat):
            scale = torch.full(number_format.scale_shape(parameter.shape), 0.1)
            stored = number_format.store(values, number_format.round_scale(scale))
        else:
            stored = number_format.store(values)
        tensors |= {parameter.name + suffix: tensor for suffix, tensor in stored.items()}
    for name, quantizer in build_activation_quantizers(spec, choice, scheme).items():
        if quantizer.bits <= 8:
            qmin = 0 if quantizer.unit else -(1 << quantizer.bits - 1)
            tensors[name] = torch.tensor([math.log(0.1), float(qmin)])
    return load_layer(module, StoredLayer(spec, choice, scheme, tensors))


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    call()  # allocates, and prepares what is kept
    count = max(1, math.ceil(ROUND_SECONDS / max(_seconds(call, 1), 1e-9)))
    return min(_seconds(call, count) for _ in range(ROUNDS))


def _seconds(call: Callable[[], object], count: int) -> float:
    started = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - started) / count


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
