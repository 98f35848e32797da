"""torch's own recurrences against the reference loop, with all gradients."""

import warnings

import pytest
import torch

from autoquant.kernels.recurrent import fused, reference
from autoquant.kernels.recurrent.cell import Cell, Recurrence, Weights
from tests.kernels.recurrent.cases import all_of, alone, assert_same, case

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
SIZES = {
    "padded": (3,) * 7,
    "packed": (4, 4, 3, 1, 1),
    "one-step": (4,),
    "one-sequence": (1,) * 5,
    "one-number": (1,),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_with_gradients(kind, sizes, bias):
    made = case(kind, sizes, bias=bias)
    assert_same(all_of(fused.recur, made), all_of(reference.recur, made))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_projections(sizes, bias):
    made = case("lstm", sizes, bias=bias, projection=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where oneDNN has no projection
        ours = all_of(fused.recur, made)
    assert ours[0].shape == (sum(sizes), 2)
    assert [part.shape for part in ours[1:3]] == [(sizes[0], 2), (sizes[0], 5)]
    assert_same(ours, all_of(reference.recur, made))


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_sequence_runs_as_if_alone(kind):
    packed = case(kind, (4, 3, 3, 1))
    outputs, last = fused.recur(packed.recurrence())
    for sequence in range(4):
        own, rows = alone(packed, sequence)
        expected, end = fused.recur(own.recurrence())
        assert_same([outputs[rows]], [expected])
        assert_same([part[sequence : sequence + 1] for part in last], [*end])


@pytest.mark.parametrize(
    ("cell", "quantize", "expected"),
    [
        pytest.param(Cell("lstm"), None, True, id="float"),
        pytest.param(Cell("gru"), None, True, id="float-gru"),
        pytest.param(Cell("lstm"), torch.round, False, id="quantized"),
        pytest.param(Cell("lstm", "sigmoid"), None, False, id="sigmoid-candidate"),
    ],
)
def test_suits_what_it_computes(cell, quantize, expected):
    inputs, weights = torch.ones(1, 1), Weights(torch.ones(1, 1), torch.ones(1, 1), None)
    recurrence = Recurrence(cell, inputs, (1,), weights, (torch.ones(1, 1),), quantize)
    assert fused.suits(recurrence) is expected
