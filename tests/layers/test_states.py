"""States of stacks whose layers were widened, against states written out by hand."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from torch import Tensor

from autoquant.kernels import Cell
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.layers.states import StateLayout

B, F = 3, 4
SOURCES = torch.tensor([0, 1, 2, 3, 4, 0, -1], dtype=torch.int16)  # a copy of 0, a fresh unit


def layer_of(kind: str, features: int, units: int, cells: int | None = None) -> RecurrentLayer:
    return RecurrentLayer(
        Cell(kind),
        features,
        cells or units,
        bidirectional=False,
        bias=True,
        projection=units if cells else 0,
    ).double()


def widened(kind: str, cells: int | None = None) -> list[RecurrentLayer]:
    """Layers of 5 units, the first grown to 7."""
    torch.manual_seed(0)
    grown = layer_of(kind, F, 7, cells)
    grown.register_buffer("unit_sources", SOURCES)
    return [grown, layer_of(kind, 7, 5, cells)]


def layout_of(kind: str, cells: int | None = None) -> StateLayout:
    return StateLayout(widened(kind, cells), (5, cells or 5) if kind == "lstm" else (5,))


def numbered(*widths: int) -> tuple[Tensor, ...]:
    """Parts [2, B, W] of which every number is another."""
    numbers = count(1)
    return tuple(
        torch.tensor([[[float(next(numbers)) for _ in range(w)] for _ in range(B)] for _ in "ab"])
        for w in widths
    )


def grown_by_hand(part: Tensor) -> list[Tensor]:
    first, second = part
    return [torch.cat([first, first[:, :1], torch.zeros(B, 1)], 1), second]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_units_of_an_original_state_follow_their_sources(kind: str) -> None:
    parts = numbered(5, 5) if kind == "lstm" else numbered(5)
    states = layout_of(kind).split(parts)
    for k, part in enumerate(parts):
        for state, expected in zip(states, grown_by_hand(part), strict=True):
            assert torch.equal(state[k], expected)


@pytest.mark.parametrize("cells", [6, 7, 9])
def test_cells_behind_a_projection_are_no_units(cells: int) -> None:
    """Also where their number is that of the grown units, 7."""
    h, c = numbered(5, cells)
    states = layout_of("lstm", cells).split((h, c))
    for i, expected in enumerate(grown_by_hand(h)):
        assert torch.equal(states[i][0], expected)
        assert torch.equal(states[i][1], c[i])


@pytest.mark.parametrize("cells", [None, 6])
def test_joining_and_splitting(cells: int | None) -> None:
    layout = layout_of("lstm", cells)
    states = [tuple(torch.randn(B, width) for width in (units, cells or units)) for units in (7, 5)]
    parts = layout.join(states)
    assert [tuple(part.shape) for part in parts] == [(2, B, 7), (2, B, cells or 7)]
    for before, after in zip(states, layout.split(parts), strict=True):
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_zeros_are_as_wide_as_their_layers_and_like_the_inputs() -> None:
    like = torch.ones(2, dtype=torch.float64)
    states = layout_of("lstm", 6).initial_states(B, like)
    shapes = [[tuple(part.shape) for part in state] for state in states]
    assert shapes == [[(B, 7), (B, 6)], [(B, 5), (B, 6)]]
    assert all(part.dtype is torch.float64 and not part.any() for s in states for part in s)


@pytest.mark.parametrize("cells", [None, 6])
def test_a_stack_takes_either_width(cells: int | None) -> None:
    """A state of the original width, and the same written out in the widest."""
    stack = Recurrent(widened("lstm", cells), dropout=0.0, batch_first=False)
    if cells:
        stack.proj_size = 5
    else:
        stack.hidden_size = 5
    narrow = tuple(part.double() for part in numbered(5, cells or 5))
    wide = tuple(
        part
        if part.shape[-1] == cells
        else torch.stack([torch.nn.functional.pad(p, (0, 7 - p.shape[1])) for p in by_hand])
        for part in narrow
        for by_hand in [grown_by_hand(part)]
    )
    inputs = torch.randn(6, B, F, dtype=torch.float64)
    torch.testing.assert_close(stack(inputs, narrow), stack(inputs, wide))
