"""Rows of steps, against a loop over sequences and steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoquant.kernels.recurrent.packed_batch import PackedBatch

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(
    lambda sizes: tuple(sorted(sizes, reverse=True))
)


def filled(sizes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [N, 2] that say their sequence and step, and a first state [B, 2] of step -1."""
    rows = [(b, t) for t, size in enumerate(sizes) for b in range(size)]
    return torch.tensor(rows).double(), torch.tensor([(b, -1) for b in range(sizes[0])]).double()


@given(SIZES)
def test_split(sizes):
    flow, _ = filled(sizes)
    views = PackedBatch(sizes).split(flow)
    assert [len(view) for view in views] == list(sizes)
    assert all((view[:, 1] == t).all() for t, view in enumerate(views))
    assert views[-1].untyped_storage().data_ptr() == flow.untyped_storage().data_ptr()


@given(SIZES)
def test_each_row_finds_its_sequence_one_step_before(sizes):
    flow, first = filled(sizes)
    steps = PackedBatch(sizes)
    found = steps.previous(flow, first)
    assert torch.equal(found[:, 0], flow[:, 0])
    assert torch.equal(found[:, 1], flow[:, 1] - 1)
    assert torch.equal(torch.cat(steps.shifted(steps.split(flow), first)), found)


@given(SIZES)
def test_last_rows(sizes):
    flow, _ = filled(sizes)
    steps = PackedBatch(sizes)
    last = steps.last(steps.split(flow))
    lengths = [sum(b < size for size in sizes) for b in range(sizes[0])]
    assert last.tolist() == [[b, length - 1] for b, length in enumerate(lengths)]


@given(SIZES)
def test_adding_to_the_last_rows_is_the_adjoint_of_taking_them(sizes):
    steps, (flow, _) = PackedBatch(sizes), filled(sizes)
    rows = torch.randn(sizes[0], 2, dtype=torch.float64)
    spread = torch.zeros_like(flow)
    steps.add_last(steps.split(spread), rows)
    torch.testing.assert_close((spread * flow).sum(), (rows * steps.last(steps.split(flow))).sum())


@given(SIZES)
def test_spread(sizes):
    flow, _ = filled(sizes)
    assert torch.equal(
        PackedBatch(sizes).spread([float(t) for t in range(len(sizes))], flow), flow[:, 1]
    )


@pytest.mark.parametrize(("saved", "rows"), [(True, 6), (False, 3)], ids=["saved", "shared"])
def test_workspace(saved, rows):
    like = torch.empty(0, dtype=torch.float64)
    memory, views = PackedBatch((3, 2, 1)).workspace(like, 4, saved=saved)
    assert memory.shape == (rows, 4)
    assert memory.dtype == torch.float64
    assert [view.shape for view in views] == [(3, 4), (2, 4), (1, 4)]
    ends = {view.storage_offset() for view in views}
    assert len(ends) == (3 if saved else 1)


def test_no_rows():
    steps, empty = PackedBatch((0, 0)), torch.empty(0, 2)
    assert steps.last(steps.split(empty)).shape == (0, 2)
    assert steps.previous(empty, empty).shape == (0, 2)
