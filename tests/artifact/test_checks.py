"""Layers that read one another inside a module of autoquant must have one width."""

from __future__ import annotations

import pytest
from torch import nn

from autoquant.artifact.checks import check_blocks, check_joined, one_line
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_layers_of_a_stack(bidirectional: bool) -> None:
    model = prepare(nn.LSTM(5, 4, 2, bidirectional=bidirectional))
    check_joined(model)
    model.layers[1].input_size += 1
    width = 8 if bidirectional else 4
    with pytest.raises(UserError, match=f"must read {width} features, got {width + 1}"):
        check_joined(model)


@pytest.mark.parametrize(
    ("projection", "attribute", "size"),
    [
        ("q_proj", "out_features", 10),
        ("out_proj", "in_features", 12),
        ("v_proj", "out_features", 12),
    ],
)
def test_projections_of_attention(projection: str, attribute: str, size: int) -> None:
    model = prepare(nn.MultiheadAttention(8, 2))
    check_joined(model)
    setattr(getattr(model, projection), attribute, size)
    with pytest.raises(UserError, match="must have projections of one width"):
        check_joined(model)


@pytest.mark.parametrize(
    ("name", "units", "features"), [("0", 10, 8), ("0", 8, 10), ("1", 10, 8), ("1", 9, 9)]
)
def test_blocks_of_channels(name: str, units: int, features: int) -> None:
    """Whole groups: 2 channels each."""
    model = nn.Sequential(nn.Conv1d(8, 8, 3, groups=4), nn.GroupNorm(4, 8))
    network = describe(prepare(model), None)
    check_blocks(network.with_sizes({"0": (10, 10), "1": (10, 10)}))
    with pytest.raises(UserError, match=f"{name} must have whole blocks of channels"):
        check_blocks(network.with_sizes({name: (units, features)}))


def test_messages_are_one_short_line() -> None:
    assert one_line(ValueError("first\nsecond")) == "first"
    assert one_line(ValueError("x" * 10_000)) == "x" * 300 + " ..."
    assert one_line(KeyError("a")) == "'a'"
