"""One layer of a recurrent stack, with a width and bits of its own and a quantized hidden state.

torch's two biases of a gate are one here: they are only added. The GRU's candidate keeps both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.kernels import Cell, Quantize, Recurrence, State, Weights, recur
from autoquant.layers.packed_sequence import reverse_sequences
from autoquant.layers.registry import layer_kind
from autoquant.layers.spec import Axis, LayerSpec, ParameterSpec

SUFFIXES = ("", "_reverse")
RAW = "_raw"
"""Ends the name of a weight that a wrapper sets another one from, before each forward pass."""
PROJECTION = "weight_hr"
ROUND_HALF_UP = 1 + 1e-6
"""Factor of an initial value before it is quantized. An initial value of 1/2 lies halfway between
two levels of [0, 1], and a scale is not exact to the last bit; Bit-RNN rounds it up."""
RESETS_FIRST_PARAMETERS = (
    ("weight_ih", "candidate_ih"),
    ("weight_hh", "candidate_hh"),
    ("bias", "candidate_bias"),
)
"""Names of parameters of a GRU that resets first: of its gates, and of its candidate."""


class RecurrentLayer(nn.Module):
    """One layer of a stack, in one or both directions.

    Parameters (and the same with suffix ``_reverse``), with G gates and H cells: weight_ih
    [G*H, I], weight_hh [G*H, W], bias [G*H], for a GRU bias_hn [H]. The width W of the layer is H,
    or P where an LSTM projects its hidden state by weight_hr [P, H].

    In a GRU that resets first these belong to the two gates alone, G = 2; the candidate has
    candidate_ih [H, I], candidate_hh [H, H] and candidate_bias [H]. Bit-RNN has two matrices there,
    each with a scale of its own.

    Args:
        cell: computes one time step.
        features: input features I.
        cells: H.
        bidirectional: whether a second direction runs from the last time step to the first.
        bias: whether there are biases.
        projection: P; 0 for no projection.
        initial: the value of an initial state that is not given.

    Attributes:
        hidden_quantizer: of the hidden state, or None.
        given: weights that a wrapper set for the next pass in training mode, by name.
        unit_sources: where the layer was widened: for each unit the one that it was copied from, or
            a negative number.
    """

    unit_sources: Tensor

    def __init__(
        self,
        cell: Cell,
        features: int,
        cells: int,
        *,
        bidirectional: bool,
        bias: bool,
        projection: int = 0,
        initial: float = 0.0,
    ) -> None:
        if projection and cell.kind != "lstm":
            raise ValueError(f"a projection needs an lstm cell, got {cell.kind!r}")
        nn.Module.__init__(self)
        self.cell = cell
        self.input_size = features
        self.hidden_size = cells
        self.proj_size = projection
        self.bidirectional = bidirectional
        self.has_bias = bias
        self.initial = initial
        self.hidden_quantizer: nn.Module | None = None
        self.given: dict[str, Tensor] = {}
        bound = cells**-0.5
        for suffix in SUFFIXES[: self.directions]:
            for name, shape in self._shapes().items():
                values = torch.empty(shape).uniform_(-bound, bound)
                self.register_parameter(name + suffix, nn.Parameter(values))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {parameter.name: parameter.shape for parameter in _parameters(self, "")}

    @property
    def directions(self) -> int:
        """Number of directions D."""
        return 2 if self.bidirectional else 1

    @property
    def units(self) -> int:
        """Width W of the hidden state, and of the output of one direction."""
        return self.proj_size or self.hidden_size

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of the parts of a state: h, and an LSTM's c."""
        return (self.units, self.hidden_size) if self.cell.kind == "lstm" else (self.units,)

    @property
    def weight_pairs(self) -> tuple[tuple[str, str], ...]:
        """Names of the input and recurrent weights whose products are added, pair by pair."""
        gates, candidate = zip(*RESETS_FIRST_PARAMETERS[:2], strict=True)
        return (gates, candidate) if self.cell.resets_first else (gates,)

    def initial_state(self, batch: int, inputs: Tensor) -> State:
        """The state of one direction where none is given.

        An LSTM's c is quantized as h is, as in Bit-RNN; the kernels quantize h itself.

        Args:
            batch: number of sequences B.
            inputs: whose dtype and device the state has.

        Returns:
            h [B, W], and for an LSTM c [B, H].
        """
        quantizer: Any = self.hidden_quantizer
        observes = getattr(quantizer, "observed", None) is not None
        rounds = self.initial != 0 and quantizer is not None and not observes
        value = self.initial * ROUND_HALF_UP if rounds else self.initial
        parts = tuple(inputs.new_full((batch, width), value) for width in self.state_widths)
        return (parts[0], *map(quantizer, parts[1:])) if rounds else parts

    def weights(self, suffix: str) -> Weights:
        """The weights of one direction, quantized where they are parametrized.

        Args:
            suffix: of the direction's parameters: one of SUFFIXES.
        """
        given = self.given if self.training else {}

        def parameter(name: str) -> Tensor | None:
            own = name + suffix
            return given[own] if own in given else getattr(self, own, None)

        return weights_of(self.cell, parameter)

    def forward(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """Run over time; the quantization parameters of the inputs reach the kernel.

        Args:
            inputs: [N, I], the time steps one after the other.
            sizes: how many sequences are active at each time step; see kernels.Recurrence.
            states: the initial state of each direction, each part [B, W] or, for c, [B, H].

        Returns:
            [N, D*W], and the state of each direction and sequence after its own last time step.
        """
        weights = (self.weights(suffix) for suffix in SUFFIXES[: self.directions])
        return run_directions(self.cell, inputs, sizes, weights, states, self.hidden_quantizer)


def weights_of(cell: Cell, parameter: Callable[[str], Tensor | None]) -> Weights:
    """The weights of one direction from a layer's parameters.

    Args:
        cell: of the layer.
        parameter: a parameter by its name in the first direction, or None where there is none.
    """
    if cell.resets_first:
        pairs = [[parameter(name) for name in pair] for pair in RESETS_FIRST_PARAMETERS]
        return Weights(*(None if pair[0] is None else torch.cat(pair) for pair in pairs))  # type: ignore[arg-type]
    names = ("weight_ih", "weight_hh", "bias", "bias_hn", PROJECTION)
    return Weights(*map(parameter, names))  # type: ignore[arg-type]


def run_directions(
    cell: Cell,
    inputs: Tensor,
    sizes: Sequence[int],
    weights: Iterable[Weights],
    states: Sequence[State],
    quantize: Quantize | None,
) -> tuple[Tensor, list[State]]:
    """Run one layer over time, one direction after the other.

    Args:
        cell: of the layer.
        inputs: as in ``RecurrentLayer.forward``.
        sizes: as in ``RecurrentLayer.forward``.
        weights: of each direction; read when the direction is run.
        states: the initial state of each direction.
        quantize: applied to each hidden state, or None.

    Returns:
        See ``RecurrentLayer.forward``.
    """
    outputs, last = [], []
    for i, each in enumerate(weights):  # a strict zip ends torch.compile in torch 2.6
        rows = reverse_sequences(inputs, sizes) if i else inputs
        hidden, end = recur(Recurrence(cell, rows, sizes, each, states[i], quantize))
        outputs.append(reverse_sequences(hidden, sizes) if i else hidden)
        last.append(end)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)), last


@torch.no_grad()
def copy_weights(
    module: nn.RNNBase | nn.RNNCellBase, layer: RecurrentLayer, suffix: str = "", tag: str = ""
) -> None:
    """Copy the weights of one direction from a torch module; frozen ones are frozen in the copy.

    Two biases that are added become one, which is trained if either of them is.

    Args:
        module: of torch.
        layer: gets the weights.
        suffix: of the layer's parameters: one of SUFFIXES.
        tag: suffix of the module's parameters, such as "_l0_reverse"; nothing for a cell's.
    """
    for name in ("weight_ih", "weight_hh", *[PROJECTION] * bool(layer.proj_size)):
        source = source_of(module, name + tag)
        _set(layer, name + suffix, source, trained=source.requires_grad)
    if not module.bias:
        return
    first, second = getattr(module, "bias_ih" + tag), getattr(module, "bias_hh" + tag)
    trained = first.requires_grad or second.requires_grad
    if layer.cell.kind == "gru":  # the reset gate multiplies the candidate's second bias
        candidate = second[-layer.hidden_size :]
        _set(layer, "bias_hn" + suffix, candidate, trained=second.requires_grad)
        second = torch.cat([second[: -layer.hidden_size], torch.zeros_like(candidate)])
    _set(layer, "bias" + suffix, first + second, trained=trained)


def source_of(module: nn.Module, name: str) -> Tensor:
    """A weight of a torch module, or the one that a wrapper sets it from before each pass.

    The weight-drop of AWD-LSTM (Merity et al. 2017) keeps the trained weight as ``NAME_raw``.

    Args:
        module: of torch.
        name: of the weight.
    """
    raw = module._parameters.get(name + RAW)
    return getattr(module, name) if raw is None else raw


def _set(layer: RecurrentLayer, name: str, values: Tensor, *, trained: bool) -> None:
    """Set a parameter of a layer.

    Args:
        layer: changed in place.
        name: of the parameter.
        values: of its shape.
        trained: whether it is trained.
    """
    parameter: nn.Parameter = getattr(layer, name)
    parameter.copy_(values)
    parameter.requires_grad_(trained)


def torch_weight(layer: RecurrentLayer, name: str, suffix: str = "") -> Tensor:
    """A weight of one direction as torch's modules have it.

    Args:
        layer: of a stack, or a cell.
        name: torch's, without what follows for layers and directions. torch's second bias is zero
            here, except for the candidate of a GRU.
        suffix: of the direction's parameters: one of SUFFIXES.

    Raises:
        AttributeError: the layer has no such weight.
    """
    if not name.startswith("bias"):
        return getattr(layer, name + suffix)  # type: ignore[no-any-return]
    bias: Tensor = getattr(layer, "bias" + suffix)
    if name == "bias_ih":
        return bias
    candidate: Tensor | None = getattr(layer, "bias_hn" + suffix, None)
    zeros = torch.zeros_like(bias)
    return zeros if candidate is None else torch.cat([zeros[: -len(candidate)], candidate])


@layer_kind(RecurrentLayer)
class RecurrentKind:
    """One layer of a recurrent stack; both directions have one width and the same bits.

    With a projection its rows are the layer's units, and the number of cells never changes.
    """

    name = "recurrent"

    def describe(self, name: str, module: RecurrentLayer) -> LayerSpec:
        """See ``LayerKind.describe``."""
        return LayerSpec(
            name,
            module.cell.kind,
            parameters_of(module),
            module.units,
            module.input_size,
            directions=module.directions,
            recurrent=True,
        )

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        """See ``LayerKind.attributes``."""
        projected = any(parameter.name == PROJECTION for parameter in spec.parameters)
        units = "proj_size" if projected else "hidden_size"
        return {units: spec.units, "input_size": spec.features}


def parameters_of(module: RecurrentLayer) -> tuple[ParameterSpec, ...]:
    """The parameters of a layer, of both directions where it has them.

    Args:
        module: the layer.
    """
    return tuple(
        parameter
        for suffix in SUFFIXES[: module.directions]
        for parameter in _parameters(module, suffix)
    )


def _parameters(module: RecurrentLayer, suffix: str) -> list[ParameterSpec]:
    """The parameters of one direction."""
    units, cells, gates = module.units, module.hidden_size, module.cell.gates
    if module.cell.resets_first:
        return _resets_first_parameters(module, suffix)
    rows = Axis("fixed" if module.proj_size else "out", gates * cells, gates)
    inputs, hidden = Axis("in", module.input_size), Axis("hidden", units)
    parameters = [
        ParameterSpec("weight_ih" + suffix, (rows, inputs), "weight"),
        ParameterSpec("weight_hh" + suffix, (rows, hidden), "recurrent"),
    ]
    if module.has_bias:
        parameters.append(ParameterSpec("bias" + suffix, (rows,), "bias"))
    if module.has_bias and module.cell.kind == "gru":
        parameters.append(ParameterSpec("bias_hn" + suffix, (Axis("out", units),), "bias"))
    if module.proj_size:
        axes = Axis("out", units), Axis("fixed", cells)
        parameters.append(ParameterSpec(PROJECTION + suffix, axes, "recurrent"))
    return parameters


def _resets_first_parameters(module: RecurrentLayer, suffix: str) -> list[ParameterSpec]:
    """Those of one direction of a GRU that resets first: of its two gates, and its candidate."""
    units, inputs = module.units, Axis("in", module.input_size)
    parameters = []
    for part, rows in enumerate((Axis("out", 2 * units, 2), Axis("out", units))):
        weight_ih, weight_hh, bias = (pair[part] + suffix for pair in RESETS_FIRST_PARAMETERS)
        parameters += [
            ParameterSpec(weight_ih, (rows, inputs), "weight"),
            ParameterSpec(weight_hh, (rows, Axis("hidden", units)), "recurrent"),
        ]
        if module.has_bias:
            parameters.append(ParameterSpec(bias, (rows,), "bias"))
    return parameters
