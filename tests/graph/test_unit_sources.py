"""Which old entry each entry of a grown axis copies, on small axes written out by hand."""

from __future__ import annotations

import torch

from autoquant.graph.network import Segment
from autoquant.graph.unit_sources import FRESH, UNPAIRED, choose_sources, entry_sources
from tests import toys
from tests.toys import plan_of, prepared


def test_a_fixed_axis_copies_every_entry() -> None:
    sources = entry_sources((Segment(None, 3),), {})
    assert sources.old.tolist() == [0, 1, 2]
    assert sources.pair.tolist() == [UNPAIRED] * 3
    assert not sources.fresh.any()


def test_an_axis_without_units_has_no_entries() -> None:
    assert entry_sources((), {}).old.tolist() == []


def test_units_take_several_entries_and_start_where_their_segment_starts() -> None:
    layout = (Segment(None, 1), Segment("a", 2, run=3))  # entries 0 | 1 2 3, 4 5 6
    sources = entry_sources(layout, {("a", 0): torch.tensor([0, 1, 1])})
    assert sources.old.tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6]
    assert sources.pair.tolist() == [UNPAIRED] * 10


def test_both_units_of_a_fresh_pair_have_the_same_number_at_each_entry() -> None:
    layout = (Segment("a", 1, run=2), Segment("b", 1, run=2))
    units = {("a", 0): torch.tensor([0, FRESH, FRESH]), ("b", 0): torch.tensor([0] + [FRESH] * 4)}
    sources = entry_sources(layout, units)
    assert sources.old.tolist() == [0, 1, *[FRESH] * 4, 2, 3, *[FRESH] * 8]
    assert sources.fresh.tolist() == (sources.old == FRESH).tolist()
    first, second = [*[UNPAIRED] * 2, 0, 1, 0, 1], [*[UNPAIRED] * 2, 2, 3, 2, 3, 4, 5, 4, 5]
    assert sources.pair.tolist() == first + second


def test_even_growth_duplicates_units_in_turn() -> None:
    model, network = prepared(toys.stack(hidden=6))
    grown = network.resized(plan_of(network, rnn__l0=2.4))
    sources = choose_sources(model, network, grown, {}, "even")
    assert sources["rnn.l0", 0].tolist() == [*range(6), *range(6), 0, 1]
    fresh = choose_sources(model, network, grown, {}, "fresh")
    assert fresh["rnn.l0", 0].tolist() == [*range(6), *[FRESH] * 8]
