"""Rows of several lengths, against sequences one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from autoquant.errors import UserError
from autoquant.layers.packed_sequence import batch_sizes, reverse_sequences
from autoquant.quantization.codes import Grid, QuantParams, attach_quant_params, quant_params_of

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def packed_of(lengths: list[int]) -> PackedSequence:
    """Every value is another."""
    values = iter(range(1000))
    return pack_sequence(
        [torch.tensor([[float(next(values))] for _ in range(length)]) for length in lengths],
        enforce_sorted=False,
    )


@given(LENGTHS)
def test_each_sequence_is_mirrored_within_its_own_length(lengths: list[int]) -> None:
    packed = packed_of(lengths)
    sizes = batch_sizes(packed)
    turned = reverse_sequences(packed.data, sizes)
    found = unpack_sequence(packed._replace(data=turned))
    for sequence, back in zip(unpack_sequence(packed), found, strict=True):
        assert torch.equal(back, sequence.flip(0))
    assert torch.equal(reverse_sequences(turned, sizes), packed.data)


@given(LENGTHS)
def test_a_mark_stays(lengths: list[int]) -> None:
    packed = packed_of(lengths)
    coding = QuantParams(torch.tensor(1.0), Grid.unsigned(8))
    assert quant_params_of(reverse_sequences(packed.data, batch_sizes(packed))) is None
    assert (
        quant_params_of(
            reverse_sequences(attach_quant_params(packed.data, coding), batch_sizes(packed))
        )
        is coding
    )


def test_rows_need_not_be_contiguous() -> None:
    rows = torch.arange(24.0).view(2, 12).t()
    assert torch.equal(reverse_sequences(rows, [3] * 4)[:3], rows[9:])


@given(LENGTHS)
def test_sizes_are_those_of_the_steps(lengths: list[int]) -> None:
    expected = [sum(length > t for length in lengths) for t in range(max(lengths))]
    assert batch_sizes(packed_of(lengths)) == expected


@pytest.mark.parametrize("sizes", [[2, 3], [2, 2], [5, 0], []])
def test_sizes_that_do_not_describe_the_rows(sizes: list[int]) -> None:
    packed = PackedSequence(torch.zeros(5, 1), torch.tensor(sizes, dtype=torch.int64))
    with pytest.raises(UserError, match="must add up to its 5 rows, got"):
        batch_sizes(packed)
