"""Quantized layers in C compute what aq.load computes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoquant.exports.layers import LinearLayer
from autoquant.settings import Scheme
from autoquant.tasks.language_model import LanguageModel
from tests.exports.c.exported import (
    TOLERANCE,
    choice_of,
    difference,
    exported,
    mostly_slow,
    source_of,
    step_difference,
    whole_difference,
)
from tests.runtime.pairs import ACTIVATION_BITS, CHOSEN_BITS, SCHEMES, noise
from tests.toys import Stack

MANY = [(bits, act) for bits in (*CHOSEN_BITS, 16, 32) for act in ACTIVATION_BITS]


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(21, 13), nn.ReLU(), nn.Linear(13, 5, bias=False))


@pytest.mark.parametrize(("bits", "act"), mostly_slow(MANY, (1.6, 8), (3, 4), (5, 32)))
def test_linear_layers(bits: float, act: int, tmp_path: Path) -> None:
    source = source_of(tmp_path, linear, noise(6, 21), choice_of(bits, act))
    made = exported(source, tmp_path)
    assert whole_difference(made, noise(6, 21, seed=2)) < TOLERANCE
    assert bool(made.program.floats) == (bits > 8 or act > 8)


@pytest.mark.parametrize("scheme", mostly_slow(SCHEMES, "midrise", "bit-rnn"))
def test_linear_layers_of_schemes(scheme: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, linear, noise(6, 21), choice_of(2), SCHEMES[scheme])
    assert whole_difference(exported(source, tmp_path), noise(6, 21, seed=2)) < TOLERANCE


def test_sums_of_codes_are_exact(tmp_path: Path) -> None:
    """With a scale of 1 for all, outputs are the sums themselves."""
    source = source_of(tmp_path, partial(nn.Linear, 300, 7, bias=False), noise(4, 300))
    (layer,) = source.layers.values()
    assert isinstance(layer, LinearLayer)
    assert layer.inputs is not None
    layer.weight.scale[:] = 1 / np.float32(layer.inputs.scale)  # type: ignore[union-attr]
    made = exported(source, tmp_path)
    inputs = noise(1, 300, seed=3)
    grid = layer.inputs.grid
    codes = torch.round(inputs / layer.inputs.scale).clamp(grid.qmin, grid.qmax).numpy()
    expected = codes.astype(np.int64) @ layer.weight.codes.astype(np.int64).T  # type: ignore[union-attr]
    outputs, _ = made.module.run([inputs.numpy()])
    assert np.array_equal(np.rint(outputs[0]), expected)


class Words(nn.Module):
    """Vectors of words, padding at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 6, padding_idx=0)
        self.out = nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        vectors: Tensor = self.table(words)
        return self.out(vectors) + vectors.sum(-1, keepdim=True)


@pytest.mark.parametrize("bits", mostly_slow([16], 3))
def test_tables(bits: int, tmp_path: Path) -> None:
    words = torch.randint(0, 9, (2, 8), generator=torch.Generator().manual_seed(0))
    words[:, 0] = 0
    made = exported(source_of(tmp_path, Words, words, choice_of(bits)), tmp_path)
    assert whole_difference(made, words) < TOLERANCE


CELLS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "LSTM"},
    "gru": {"cell": "GRU"},
    "two gru without biases": {"cell": "GRU", "layers": 2, "bias": False},
    "rnn": {"cell": "RNN"},
    "three lstm": {"cell": "LSTM", "layers": 3, "hidden": 7},
    "projection": {"cell": "LSTM", "layers": 2, "projection": 3},
}
BOTH: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "LSTM", "bidirectional": True, "layers": 2},
    "gru": {"cell": "GRU", "bidirectional": True},
    "projection": {"cell": "LSTM", "bidirectional": True, "layers": 2, "projection": 3},
}


@pytest.mark.parametrize("cell", mostly_slow(CELLS, "two gru without biases", "projection"))
def test_recurrent_steps(cell: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, partial(Stack, **CELLS[cell]), noise(5, 2, 5))
    made = exported(source, tmp_path, steps=True)
    assert step_difference(made, noise(9, 3, 5, seed=2)) < TOLERANCE


@pytest.mark.parametrize("cell", mostly_slow(BOTH, "projection"))
def test_both_directions(cell: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, partial(Stack, **BOTH[cell]), noise(5, 2, 5))
    made = exported(source, tmp_path)
    assert whole_difference(made, noise(5, 3, 5, seed=2), axis=1) < TOLERANCE


WIDTHS = [
    (cell, bits, act, hidden)
    for cell in ("lstm", "gru")
    for bits in (1, 1.6, 2, 3, 4, 8, 16)
    for act in (4, 8, 16, 32)
    for hidden in (4, 8, 16, 32)
]
FEW = ("gru", 2, 8, 8), ("lstm", 4, 16, 4), ("lstm", 3, 32, 32)


@pytest.mark.parametrize(("cell", "bits", "act", "hidden"), mostly_slow(WIDTHS, *FEW))
def test_recurrent_bits(cell: str, bits: float, act: int, hidden: int, tmp_path: Path) -> None:
    build, choice = partial(Stack, **CELLS[cell]), choice_of(bits, act, hidden)
    made = exported(source_of(tmp_path, build, noise(5, 2, 5), choice), tmp_path, steps=True)
    assert step_difference(made, noise(9, 3, 5, seed=2)) < TOLERANCE


@pytest.mark.parametrize("bits", mostly_slow([2, 3, 8], 4))
def test_cells_of_sigmoids(bits: int, tmp_path: Path) -> None:
    """Bit-RNN's: their initial state is no zero, and activations are not clipped."""
    build = partial(
        LanguageModel, 9, 6, 7, 2, 0.0, "lstm", candidate="sigmoid", rectified=True, initial=0.5
    )
    words = torch.randint(0, 9, (5, 2), generator=torch.Generator().manual_seed(0))
    source = source_of(tmp_path, build, words, choice_of(bits, bits, bits), Scheme.bit_rnn())
    made = exported(source, tmp_path, steps=True)
    assert step_difference(made, words) < TOLERANCE
    assert "lstm_sigmoid_step" in made.program.source.read_text()


def test_states_go_in_and_come_out(tmp_path: Path) -> None:
    source = source_of(tmp_path, partial(Stack, cell="LSTM", projection=3), noise(5, 2, 5))
    made = exported(source, tmp_path, steps=True)
    inputs = noise(8, 1, 5, seed=4)
    steps = inputs.numpy()[:, None]
    whole, last = made.module.sequence([steps])
    first, states = made.module.sequence([steps[:3]])
    second, ends = made.module.sequence([steps[3:]], states)
    assert np.array_equal(np.concatenate([first[0], second[0]]), whole[0])
    assert all(map(np.array_equal, ends, last))
    with torch.no_grad():
        _, (h, c) = source.model(inputs)
    assert difference(last[0], h) < TOLERANCE
    assert difference(last[1], c) < TOLERANCE
