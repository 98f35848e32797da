"""Streams: the same seed gives the same batches, and a resumed training reads on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from autoquant.errors import UserError
from autoquant.tasks.data.same import same_values
from autoquant.tasks.data.stream import StreamBatches


class Numbers(IterableDataset[Tensor]):
    """Random numbers, as many as are asked for."""

    def __init__(self, length: int | None) -> None:
        self.length, self.rng = length, np.random.default_rng(1)

    def __iter__(self) -> Iterator[Tensor]:
        for i in count() if self.length is None else range(self.length):
            yield i + torch.rand(1) + self.rng.random()


class Sized(Numbers):
    def __len__(self) -> int:
        assert self.length is not None
        return self.length


class Longer(Sized):
    """Gives two batches more than its length says."""

    def __len__(self) -> int:
        return super().__len__() - 4


STREAMS: dict[str, Any] = {
    "with a length": lambda: StreamBatches("train", DataLoader(Sized(10), batch_size=2)),
    "without one": lambda: StreamBatches("train", DataLoader(Numbers(10), batch_size=2), 4),
    "without an end": lambda: StreamBatches("train", DataLoader(Numbers(None), batch_size=2), 4),
    "longer": lambda: StreamBatches("train", DataLoader(Longer(10), batch_size=2)),
    "no loader": lambda: StreamBatches("train", Sized(5)),
}
EACH = pytest.mark.parametrize("name", STREAMS)


def taken(source: StreamBatches, seed: int, start: int, end: int) -> list[Any]:
    batches = []
    for batch in islice(source.training(seed, start), end - start):
        batches.append(batch)
        torch.rand(1)  # as dropout does
    return batches


@EACH
@pytest.mark.parametrize("start", [0, 1, 5, 7])
def test_a_resumed_training_has_the_same_batches(name: str, start: int) -> None:
    whole = taken(STREAMS[name](), 3, 0, 12)
    assert same_values(whole[start:], taken(STREAMS[name](), 3, start, 12))
    assert not same_values(whole, taken(STREAMS[name](), 4, 0, 12))


@EACH
def test_a_stream_leaves_the_global_sources(name: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    batches = STREAMS[name]().training(0, 0)
    drawn = []
    for _ in range(2):
        next(batches)
        drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), expected)


def test_workers_that_persist_begin_each_pass_anew() -> None:
    loader = DataLoader(Numbers(8), batch_size=2, num_workers=1, persistent_workers=True)
    source = StreamBatches("train", loader, 4)
    whole = taken(source, 1, 0, 6)
    assert same_values(whole, taken(source, 1, 0, 6))
    assert same_values(whole[5:], taken(source, 1, 5, 6))
    assert source.difference() is None


def test_two_passes_at_a_time_do_not_disturb_each_other() -> None:
    source = STREAMS["with a length"]()
    alone = taken(source, 0, 0, 6)
    pairs = [*islice(zip(source.training(0, 0), source.training(1, 0), strict=True), 6)]
    assert same_values(alone, [first for first, _ in pairs])


@pytest.mark.parametrize(
    ("name", "steps", "all_batches"),
    [("with a length", 5, 5), ("without one", 4, 4), ("without an end", 4, 4), ("no loader", 5, 5)],
)
def test_how_many(name: str, steps: int, all_batches: int) -> None:
    source = STREAMS[name]()
    assert source.steps == steps
    assert len([*source.all()]) == all_batches
    assert same_values(source.first(), next(source.all()))
    assert len([*source.some(3)]) == (3 if name == "no loader" else 2)
    assert source.difference() is None


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="batches_per_epoch must be given where train has no leng"):
        assert StreamBatches("train", DataLoader(Numbers(3))).steps
    with pytest.raises(UserError, match="valid must have at least one batch, got none"):
        next(StreamBatches("valid", Sized(0)).all())
    with pytest.raises(UserError, match="train must have at least one batch, got none"):
        next(StreamBatches("train", Sized(0), 3).training(0, 0))


def test_what_is_not_reproducible() -> None:
    class Counting:
        calls = 0

        def __iter__(self) -> Iterator[int]:
            self.calls += 1
            yield self.calls

    assert StreamBatches("train", Counting(), 1).difference() == "what Counting gives"
