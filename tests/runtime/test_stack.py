"""PackedRecurrent: the short way through a whole stack, and when it must not be taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from autoquant.plan import LayerChoice
from autoquant.runtime import PackedRecurrent, PackedRecurrentLayer
from tests import toys
from tests.quantization.native.machine import NEEDS_KERNELS, threads
from tests.runtime.pairs import Pair, assert_equal, assert_same, noise, pair

pytestmark = NEEDS_KERNELS

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def stack(folder: Path, cell: str = "lstm", bits: int = 4, **options: Any) -> Pair:
    options = {"num_layers": 2, "bidirectional": True} | options
    return pair(folder, lambda: CELLS[cell](5, 11, **options), LayerChoice(bits, 8), noise(7, 3, 5))


@pytest.fixture
def only_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer may be called by itself."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a layer was called")

    monkeypatch.setattr(PackedRecurrentLayer, "forward", refuse)


@pytest.mark.usefixtures("only_short")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_one_call_for_all_layers(cell: str, batch_first: bool, tmp_path: Path) -> None:
    both = stack(tmp_path, cell, batch_first=batch_first)
    inputs = noise(4, 4, 5)
    _, state = both.fake(inputs)
    assert isinstance(both.loaded, PackedRecurrent)
    assert_same(both, inputs)
    assert_same(both, inputs, state)
    assert_same(both, inputs.transpose(0, 1))
    with torch.inference_mode():
        assert_equal(both.loaded(inputs), both.fake(inputs))


@pytest.mark.usefixtures("only_short")
def test_layers_of_several_widths(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return toys.Stack("LSTM", 3, bidirectional=True)

    both = pair(tmp_path, build, LayerChoice(4, 8), noise(6, 3, 5), rnn__l0=1.4, rnn__l2=2.0)
    assert_same(both, noise(4, 2, 5))


@pytest.mark.parametrize("bits", [1, 1.6, *range(2, 9)], ids="w{}".format)
def test_many_steps_share_one_unpacked_weight(bits: float, tmp_path: Path) -> None:
    """And its input products are made a chunk of steps at a time, from both ends."""
    both = stack(tmp_path, bits=bits, num_layers=1)
    for rows in (1, 2, 7):
        assert_same(both, noise(60, rows, 5))
    assert_same(both, pack_sequence([noise(length, 5) for length in (90, 51, 50, 1)]))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("batch", [1, 5])
def test_threads_share_out_rows_or_directions(batch: int, layers: int, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.GRU(21, 120, layers, bidirectional=True)

    loaded = pair(tmp_path, build, LayerChoice(4, 8), noise(6, 3, 21)).loaded
    inputs = noise(40, batch, 21)
    alone = loaded(inputs)
    for count in (2, 3):
        with threads(count):
            assert_equal(loaded(inputs), alone)


def test_hooks_of_a_layer_are_called(tmp_path: Path) -> None:
    both, seen = stack(tmp_path), []
    assert_same(both, noise(4, 2, 5))
    both.loaded.l1.register_forward_hook(lambda *_: seen.append("l1"))
    assert_same(both, noise(4, 2, 5))
    assert seen == ["l1"]


def test_a_layer_that_was_changed_by_itself(tmp_path: Path) -> None:
    """What was prepared for the stack is of the layers as they were."""
    both, other = stack(tmp_path / "one"), stack(tmp_path / "other")
    inputs = noise(4, 2, 5)
    before = both.loaded(inputs)[0]
    state = both.loaded.l1.state_dict()
    doubled = {name: 2 * held if name.endswith("scale") else held for name, held in state.items()}
    both.loaded.l1.load_state_dict(doubled)
    changed: Tensor = both.loaded(inputs)[0]
    assert not torch.equal(changed, before)
    other.loaded.l1 = both.loaded.l1
    assert_equal(other.loaded(inputs)[0], changed)


def test_a_nan_goes_the_long_way(tmp_path: Path) -> None:
    both, inputs = stack(tmp_path), noise(4, 2, 5)
    inputs[2, 0, 1] = torch.nan
    assert both.loaded(inputs)[0][:, 0].isnan().any()
    assert_equal(both.loaded(inputs), both.fake(inputs))


def test_gradients_go_the_long_way(tmp_path: Path) -> None:
    both, inputs = stack(tmp_path), noise(4, 2, 5).requires_grad_()
    both.loaded(inputs)[0].sum().backward()
    assert inputs.grad is not None
    assert float(inputs.grad.abs().max()) > 0
