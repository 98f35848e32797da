from __future__ import annotations

from itertools import combinations

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoquant.exports.c.memory import Buffer, View, dense, place

BUFFERS = st.lists(
    st.tuples(st.sampled_from(["float", "int8_t"]), st.integers(1, 9), st.integers(0, 9)),
    max_size=12,
)


@given(BUFFERS, st.integers(0, 4))
def test_buffers_in_use_do_not_overlap(drawn: list[tuple[str, int, int]], life: int) -> None:
    buffers = [
        Buffer(kind, size, f"v{i}", first=first, last=first + (size * life) % 5)  # type: ignore[arg-type]
        for i, (kind, size, first) in enumerate(drawn)
    ]
    workspace = place(buffers)
    for one, other in combinations(buffers, 2):
        apart = one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
        unused = one.last < other.first or other.last < one.first
        assert one.kind != other.kind or apart or unused
    for buffer in buffers:
        assert buffer.offset + buffer.size <= workspace.sizes[buffer.kind]


def test_a_result_lies_over_an_input_that_nothing_reads_any_more() -> None:
    first = Buffer("float", 4, "v0", first=0, last=2)
    second = Buffer("float", 4, "v1", first=1, last=3, over=first)  # read after it
    third = Buffer("float", 4, "v2", first=2, last=3, over=first)
    assert place([first, second, third]).sizes == {"float": 8}
    assert third.offset == first.offset != second.offset


def test_views_of_views() -> None:
    view = View(Buffer("float", 24, "v"), (2, 3, 4), dense((2, 3, 4)))
    part = view.through(torch.Tensor.transpose, 0, 2).through(torch.Tensor.select, 1, 2)
    assert (part.shape, part.strides, part.offset) == ((4, 2), (1, 12), 8)
    assert part.pointer == "v + 8"
    assert view.contiguous
    assert not part.contiguous
