from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.errors import UserError
from autoquant.tasks.asset_bytes import bytes_of

DATA = torch.randn(8, 2), torch.arange(8) % 2


def test_texts_become_bytes() -> None:
    assert bytes_of({"a": "gruß", "b": b"\x00"}) == {"a": "gruß".encode(), "b": b"\x00"}
    assert bytes_of(None) == {}


@pytest.mark.parametrize(
    ("assets", "line"),
    [
        (["a"], r"assets must be texts or bytes by name, got \['a'\]"),
        ({"classes": ["a", "b"]}, "asset classes must be a text or bytes, got a list"),
    ],
)
def test_what_is_refused(assets: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        aq.SupervisedTask(nn.Linear(2, 2), DATA, DATA, DATA, assets=assets)


def test_names_of_classes_lie_beside_the_packed_file(tmp_path: Path) -> None:
    task = aq.SupervisedTask(nn.Linear(2, 2), DATA, DATA, DATA, assets={"classes": "no\nyes"})
    instant = aq.Training(steps=0)
    settings = aq.Search("20x", trials=1, references=(), qat=instant, final=instant, device="cpu")
    aq.search(task, settings, study=tmp_path, progress=False)
    applied = aq.apply(tmp_path, task, progress=False)
    assert aq.assets(applied.artifact)["classes"].decode().split() == ["no", "yes"]
    assert aq.evaluate(applied.artifact, task, device="cpu") == applied.test
