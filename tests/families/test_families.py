"""Families of models: each grows exactly, packs to its predicted size, reloads bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.families.cycle import Cycle
from tests.families.registry import FAMILIES, Family


def _cases() -> list[object]:
    return [
        pytest.param(family, id=family.name, marks=[pytest.mark.slow] * family.heavy)
        for family in FAMILIES
    ]


@pytest.mark.parametrize("family", _cases())
def test_family(family: Family, tmp_path: Path) -> None:
    if family.missing:
        pytest.skip(f"needs {', '.join(family.missing)}")
    torch.manual_seed(0)
    cycle = Cycle(family.build, family.inputs())
    cycle.check_prepared()
    cycle.profile()
    assert cycle.free
    assert family.stream is None or family.stream in cycle.free
    plan = cycle.mixed(dict.fromkeys(cycle.free, 1.5))
    cycle.widened(plan, "fresh")
    cycle.check_packed(plan, tmp_path)
