from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from autoquant.seeds import seed_everything, seed_torch


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 1])
def test_every_random_source_is_seeded(seed: int) -> None:
    drawn = []
    for _ in range(2):
        seed_everything(seed)
        drawn.append((random.random(), np.random.random(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    seed_everything(seed + 1)
    other = (random.random(), np.random.random(), float(torch.rand(())))
    assert all(one != two for one, two in zip(drawn[0], other, strict=True))


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 7, 2**63 - 1])
def test_torch_draws_what_it_draws_after_its_own_function(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(9)
    seed_torch(seed)
    assert torch.equal(torch.rand(9), expected)


@pytest.mark.parametrize("available", [True, False])
def test_accelerators_are_seeded_where_there_are_any(
    available: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    seed_torch(5)
    assert seeds == [5] * available
