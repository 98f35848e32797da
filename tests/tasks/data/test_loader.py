"""A DataLoader's batches are functions of seed, epoch and number: resumed, and with any workers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from autoquant.errors import UserError
from autoquant.tasks.data.loader import LoaderBatches, is_plain_loader
from autoquant.tasks.data.same import same_values

COUNT = 23


class Augmented(Dataset[Any]):
    """Numbers with noise from every kind of source."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        noise = torch.rand(2) + random.random() + np.random.rand() + self.rng.random()
        return index + noise, float(index)


class Shuffled(Sampler[int]):
    """Another order each time, from a source of its own."""

    def __init__(self) -> None:
        self.rng = random.Random(4)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rng.sample(range(COUNT), COUNT))

    def __len__(self) -> int:
        return COUNT


class ByLength(Sampler[list[int]]):
    """Batches of several sizes, without a length; in another order, and number, each epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(COUNT).tolist()
        while order:
            size = int(torch.randint(1, 6, ()))
            yield order[:size]
            order = order[size:]


class Endless(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield int(torch.randint(COUNT, ()))


def numbered() -> TensorDataset:
    return TensorDataset(torch.arange(COUNT).float(), torch.arange(COUNT))


LOADERS: dict[str, Any] = {
    "in order": lambda: DataLoader(numbered(), batch_size=4),
    "shuffled": lambda: DataLoader(numbered(), batch_size=4, shuffle=True),
    "a generator": lambda: DataLoader(
        numbered(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(9)
    ),
    "with replacement": lambda: DataLoader(
        numbered(), batch_size=4, sampler=WeightedRandomSampler([1.0] * COUNT, 40)
    ),
    "a sampler of the user": lambda: DataLoader(numbered(), batch_size=4, sampler=Shuffled()),
    "a batch sampler of the user": lambda: DataLoader(numbered(), batch_sampler=ByLength()),
    "torch's batch sampler": lambda: DataLoader(
        numbered(), batch_sampler=BatchSampler(RandomSampler(range(COUNT)), 5, True)
    ),
    "single samples": lambda: DataLoader(numbered(), batch_size=None, shuffle=True),
    "augmented": lambda: DataLoader(Augmented(), batch_size=4, shuffle=True),
}
EACH = pytest.mark.parametrize("name", LOADERS)


def taken(source: LoaderBatches, seed: int, start: int, end: int) -> list[Any]:
    return [*islice(source.training(seed, start), end - start)]


@EACH
@pytest.mark.parametrize("start", [1, 6, 13])
def test_a_resumed_training_has_the_same_batches(name: str, start: int) -> None:
    whole = taken(LoaderBatches("train", LOADERS[name]()), 3, 0, 16)
    rest = taken(LoaderBatches("train", LOADERS[name]()), 3, start, 16)
    assert same_values(whole[start:], rest)


@EACH
def test_the_seed_decides_the_order_and_other_draws_do_not(name: str) -> None:
    source = LoaderBatches("train", LOADERS[name]())
    first = taken(source, 0, 0, 9)
    torch.rand(3), np.random.rand(), random.random()
    assert same_values(first, taken(source, 0, 0, 9))
    assert same_values(first, taken(source, 1, 0, 9)) == (name == "in order")


@EACH
def test_drawing_a_batch_leaves_the_global_sources(name: str) -> None:
    source = LoaderBatches("train", LOADERS[name]())
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    taken(source, 0, 0, 2)
    assert torch.equal(torch.rand(1), expected)


def test_an_epoch_shows_every_sample_once() -> None:
    source = LoaderBatches("train", LOADERS["shuffled"]())
    assert source.steps == 6
    epochs = [torch.cat([x for _, x in taken(source, 0, i, i + 6)]) for i in (0, 6)]
    assert all(torch.equal(epoch.sort().values, torch.arange(COUNT)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_workers_change_nothing() -> None:
    def source(workers: int) -> LoaderBatches:
        loader = DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=workers)
        return LoaderBatches("train", loader)

    assert same_values(taken(source(0), 5, 2, 9), taken(source(2), 5, 2, 9))
    assert same_values([*source(0).all()], [*source(2).all()])


def test_a_worker_s_own_function_sees_the_user_s_dataset() -> None:
    loader = DataLoader(Marked(), batch_size=4, num_workers=1, worker_init_fn=mark)
    assert next(LoaderBatches("train", loader).all()).tolist() == [1, 1, 1, 1]


class Marked(Dataset[int]):
    mark = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return self.mark


def mark(worker: int) -> None:
    info = torch.utils.data.get_worker_info()
    assert info is not None
    info.dataset.mark = worker + 1  # type: ignore[attr-defined]


def prepare(worker: int) -> None:
    info = torch.utils.data.get_worker_info()
    assert info is not None
    info.dataset.file = "open"  # type: ignore[attr-defined]


class Opened(Marked):
    file = ""

    def __getitem__(self, index: int) -> int:
        return {"open": 7}[self.file]


def test_the_first_batch_is_loaded_by_a_worker_that_the_user_prepares() -> None:
    loader = DataLoader(Opened(), batch_size=4, num_workers=1, worker_init_fn=prepare)
    assert LoaderBatches("train", loader).first().tolist() == [7, 7, 7, 7]


def test_the_validation_data_are_always_the_same() -> None:
    source = LoaderBatches("valid", LOADERS["augmented"]())
    assert same_values([*source.all()], [*source.all()])
    assert sum(len(x) for x, _ in source.all()) == COUNT


@pytest.mark.parametrize(("samples", "batches"), [(1, 1), (5, 2), (COUNT, 6), (100, 6)])
def test_some_batches(samples: int, batches: int) -> None:
    source = LoaderBatches("valid", LOADERS["in order"]())
    some, every = [*source.some(samples)], [*source.all()]
    assert len(some) == batches
    assert same_values(some[0], every[0])
    assert batches == 1 or same_values(some[-1], every[-1])


def test_a_sampler_without_an_end() -> None:
    loader = DataLoader(numbered(), batch_size=4, sampler=Endless())
    with pytest.raises(UserError, match=r"batches_per_epoch must be given .* no end, got Batch"):
        LoaderBatches("train", loader)
    source = LoaderBatches("train", loader, steps=7)
    assert source.steps == 7
    assert same_values(taken(source, 0, 9, 12), taken(source, 0, 0, 12)[9:])


@pytest.mark.parametrize(("given", "steps"), [(4, 4), (6, 6), (50, 6)])
@pytest.mark.parametrize("name", ["shuffled", "a batch sampler of the user"])
def test_an_epoch_may_be_cut(name: str, given: int, steps: int) -> None:
    source = LoaderBatches("train", LOADERS[name](), given)
    assert name != "shuffled" or source.steps == steps
    assert same_values(taken(source, 0, 9, 14), taken(source, 0, 0, 14)[9:])


class Private(Sampler[int]):
    """An order that no seed reaches."""

    calls = 0

    def __iter__(self) -> Iterator[int]:
        Private.calls += 1
        return iter([Private.calls % 5, 3])

    def __len__(self) -> int:
        return 2


def test_what_is_not_reproducible() -> None:
    loader = DataLoader(numbered(), batch_size=1, sampler=Private())
    assert LoaderBatches("train", loader).difference() == "the order of BatchSampler over Private"
    counter = iter(range(100))
    loader = DataLoader(numbered(), batch_size=1, collate_fn=lambda items: next(counter))
    expected = "what TensorDataset and its collate function draw"
    assert LoaderBatches("train", loader).difference() == expected
    assert LoaderBatches("train", LOADERS["augmented"]()).difference() is None


def test_which_loaders_are_fetched_by_indices() -> None:
    class Own(DataLoader[Any]):
        def __iter__(self) -> Any:
            return iter([])

    assert is_plain_loader(DataLoader(numbered(), sampler=SequentialSampler(range(3))))
    assert not is_plain_loader(Own(numbered()))
    assert not is_plain_loader([1])


def test_an_empty_loader() -> None:
    with pytest.raises(UserError, match="train must have at least one batch, got none"):
        LoaderBatches("train", DataLoader(numbered(), batch_size=50, drop_last=True))
