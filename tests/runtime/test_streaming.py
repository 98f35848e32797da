"""A sequence step by step, with the state carried on, is the whole sequence at once; exactly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.plan import LayerChoice
from tests import toys
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import Pair, assert_equal, flat, noise, pair

pytestmark = NEEDS_KERNELS  # integer sums are exact in any order; a product of floats is not

STEPS = 12
CHOICES = {
    "w4 a8": LayerChoice(4, 8),
    "w1 a2": LayerChoice(1, 2),
    "w8 a8": LayerChoice(8, 8),
    "w3 r6 a8 h4": LayerChoice(3, 8, recurrent_bits=6, hidden_bits=4),
}


@torch.no_grad()
def streamed(model: nn.Module, inputs: Tensor, cuts: list[int], state: Any = None) -> Any:
    """Outputs of the pieces between cuts, one after the other, and the last state."""
    outputs = []
    for first, end in pairwise([0, *cuts, len(inputs)]):
        out, state = model(inputs[first:end], state)
        outputs.append(out)
    return torch.cat(outputs), state


@pytest.fixture(scope="module", params=["LSTM", "GRU", "RNN"])
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=CHOICES)
def both(
    cell: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Pair:
    """Two layers between linear ones; the first recurrent layer is the wider one."""

    def build() -> nn.Module:
        return toys.Stack(cell, 2, hidden=19)

    folder = tmp_path_factory.mktemp("streamed")
    return pair(folder, build, CHOICES[request.param], noise(9, 3, 5), rnn__l0=1.5)


@pytest.mark.parametrize("batch", [1, 3])
def test_step_by_step(both: Pair, batch: int) -> None:
    inputs = noise(STEPS, batch, 5, seed=3)
    whole = both.loaded(inputs)
    assert_equal(streamed(both.loaded, inputs, [*range(1, STEPS)]), whole)
    assert_equal(streamed(both.fake, inputs, [*range(1, STEPS)]), whole)


def test_without_a_batch_axis(both: Pair) -> None:
    inputs = noise(STEPS, 5, seed=3)
    whole, state = both.loaded(inputs[:, None])
    ours, last = streamed(both.loaded, inputs, [*range(1, STEPS)])
    assert_equal(ours, whole[:, 0])
    assert_equal(last, [part[:, 0] for part in flat(state)])


def test_from_a_state_that_was_given(both: Pair) -> None:
    inputs, state = noise(STEPS, 1, 5, seed=3), toys.stack_state(both.build(), 1)
    whole = both.loaded(inputs, state)
    assert_equal(streamed(both.loaded, inputs, [1, 2, 7], state), whole)


def test_one_sequence_is_what_it_is_in_a_batch(both: Pair) -> None:
    inputs = noise(STEPS, 5, 5, seed=3)
    together = both.loaded(inputs)[0]
    for i in range(5):
        assert torch.equal(both.loaded(inputs[:, i : i + 1])[0][:, 0], together[:, i])


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = tmp_path_factory.mktemp("streamed")
    return pair(folder, lambda: nn.LSTM(5, 19), LayerChoice(4, 8), noise(9, 3, 5)).loaded


@settings(max_examples=30)
@given(cuts=st.sets(st.integers(1, STEPS - 1)), batch=st.integers(1, 4))
def test_cut_anywhere(cuts: set[int], batch: int, lstm: nn.Module) -> None:
    inputs = noise(STEPS, batch, 5, seed=batch)
    assert_equal(streamed(lstm, inputs, sorted(cuts)), lstm(inputs))
