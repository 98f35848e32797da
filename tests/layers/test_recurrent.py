"""One layer: its directions, its hidden state, and what it hands on to the kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.kernels import Cell, Recurrence, Weights
from autoquant.kernels.recurrent import reference
from autoquant.layers import recurrent
from autoquant.layers.packed_sequence import reverse_sequences
from autoquant.layers.recurrent import RecurrentKind, RecurrentLayer
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params, quant_params_of
from autoquant.settings import Scheme

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
F, H = 4, 5
SIZES = {"even": [3, 3, 3], "uneven": [3, 2, 2, 1]}


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def layer_of(kind: str = "lstm", *, projection: int = 0) -> RecurrentLayer:
    torch.manual_seed(0)
    layer = RecurrentLayer(Cell(kind), F, H, bidirectional=True, bias=True, projection=projection)
    return layer.double()


def states_for(layer: RecurrentLayer, batch: int) -> list[tuple[Tensor, ...]]:
    return [
        tuple(noise(batch, width, seed=d + i) for i, width in enumerate(layer.state_widths))
        for d in range(layer.directions)
    ]


class Coarse(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.mul(4).round().div(4)


@pytest.mark.parametrize(
    ("kind", "projection"), [*((kind, 0) for kind in KINDS), ("lstm", 3), ("lstm", 7)]
)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_hidden_state_is_quantized_inside_the_recurrence(
    kind: str, projection: int, sizes: list[int]
) -> None:
    """Both directions, each by the reference loop."""
    layer = layer_of(kind, projection=projection)
    layer.hidden_quantizer = Coarse()
    inputs, states = noise(sum(sizes), F), states_for(layer, sizes[0])
    outputs, last = layer(inputs, sizes, states)
    units = projection or H
    assert outputs.shape == (sum(sizes), 2 * units)
    names = ("weight_ih", "weight_hh", "bias", "bias_hn", "weight_hr")
    for d, suffix in enumerate(("", "_reverse")):
        weights = Weights(*(getattr(layer, name + suffix, None) for name in names))
        flowing = reverse_sequences(inputs, sizes) if d else inputs
        given = Recurrence(Cell(kind), flowing, sizes, weights, states[d], Coarse())
        expected, end = reference.recur(given)
        expected = reverse_sequences(expected, sizes) if d else expected
        torch.testing.assert_close(outputs[:, d * units : (d + 1) * units], expected)
        torch.testing.assert_close(last[d], end)
    assert torch.equal(outputs, outputs.mul(4).round().div(4))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_kernel_gets_what_the_hook_returned(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very tensor, with its mark; a mark of the same codes on the mirrored one."""
    seen: list[Tensor] = []
    recur = recurrent.recur

    def spy(recurrence: Recurrence) -> Any:
        seen.append(recurrence.inputs)
        return recur(recurrence)

    monkeypatch.setattr(recurrent, "recur", spy)
    layer, coding = layer_of(), QuantParams(torch.tensor(0.5), Grid.unsigned(4))
    returned: list[Tensor] = []

    def quantize(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        returned.append(attach_quant_params(args[0].clone(), coding))
        return returned[0], *args[1:]

    layer.register_forward_pre_hook(quantize)
    layer(noise(sum(sizes), F), sizes, states_for(layer, sizes[0]))
    forward, reverse = seen
    assert forward is returned[0]
    assert quant_params_of(reverse) is coding
    assert torch.equal(reverse, reverse_sequences(forward, sizes))


def test_initial_weights_are_bounded_and_seeded() -> None:
    torch.manual_seed(3)
    one = RecurrentLayer(Cell("lstm"), F, 16, bidirectional=True, bias=True, projection=3)
    torch.manual_seed(3)
    other = RecurrentLayer(Cell("lstm"), F, 16, bidirectional=True, bias=True, projection=3)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert 0 < float(mine.detach().abs().max()) <= 16**-0.5


def test_only_an_lstm_projects() -> None:
    with pytest.raises(ValueError, match="a projection needs an lstm cell, got 'gru'"):
        RecurrentLayer(Cell("gru"), F, H, bidirectional=False, bias=True, projection=2)


# --- a GRU that resets first ----------------------------------------------------------------------


def resetting() -> RecurrentLayer:
    torch.manual_seed(0)
    cell = Cell("gru", "sigmoid")
    return RecurrentLayer(cell, F, H, bidirectional=True, bias=True, initial=0.25).double()


@pytest.mark.parametrize("quantize", [None, Coarse()], ids=["float", "rounded"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sequences_run_both_ways_as_if_alone(sizes: list[int], quantize: nn.Module | None) -> None:
    layer = resetting()
    layer.hidden_quantizer = quantize
    inputs, states = noise(sum(sizes), F), states_for(layer, sizes[0])
    outputs, last = layer(inputs, sizes, states)
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    for i in range(sizes[0]):
        rows = [start + i for start, size in zip(starts, sizes, strict=True) if i < size]
        own = [tuple(part[i : i + 1] for part in state) for state in states]
        expected, end = layer(inputs[rows], [1] * len(rows), own)
        torch.testing.assert_close(outputs[rows], expected)
        for state, alone in zip(last, end, strict=True):
            torch.testing.assert_close(state[0][i : i + 1], alone[0])


def test_gates_and_candidate_are_two_pairs_of_weights() -> None:
    layer = resetting()
    spec = RecurrentKind().describe("rnn", layer)
    assert layer.weight_pairs == (("weight_ih", "weight_hh"), ("candidate_ih", "candidate_hh"))
    assert [(p.name, p.shape, p.role) for p in spec.parameters[:6]] == [
        ("weight_ih", (2 * H, F), "weight"),
        ("weight_hh", (2 * H, H), "recurrent"),
        ("bias", (2 * H,), "bias"),
        ("candidate_ih", (H, F), "weight"),
        ("candidate_hh", (H, H), "recurrent"),
        ("candidate_bias", (H,), "bias"),
    ]
    assert [p.name for p in spec.parameters[6:]] == [
        f"{p.name}_reverse" for p in spec.parameters[:6]
    ]
    assert {name for name, _ in layer.named_parameters()} == {p.name for p in spec.parameters}
    wider = spec.resized(H + 2, F + 1)
    assert [p.shape for p in wider.parameters[:2]] == [(2 * H + 4, F + 1), (2 * H + 4, H + 2)]


# --- where no state is given ----------------------------------------------------------------------


def test_a_start_is_filled_and_like_the_inputs() -> None:
    (h,) = resetting().initial_state(3, torch.zeros(1, dtype=torch.float32))
    assert torch.equal(h, torch.full((3, H), 0.25))
    zeros = layer_of("lstm", projection=3).initial_state(2, noise(1))
    assert [part.tolist() for part in zeros] == [[[0.0] * 3] * 2, [[0.0] * H] * 2]


def test_the_memory_starts_on_the_grid_but_is_not_observed() -> None:
    layer = RecurrentLayer(Cell("lstm"), F, H, bidirectional=False, bias=True, initial=0.4)
    layer.hidden_quantizer = quantizer = ActivationQuantizer(2, Scheme())
    assert all(bool((part == 0.4).all()) for part in layer.initial_state(3, noise(1).float()))
    assert quantizer.observed == []
    quantizer.restore(float(torch.tensor(0.25).log()), 0)
    _, c = layer.initial_state(3, noise(1).float())
    assert c.tolist() == [[0.5] * H] * 3
