"""Objects by import path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoquant.errors import UserError, resolve_path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("json.dumps", json.dumps),
        ("torch.nn.functional.cross_entropy", torch.nn.functional.cross_entropy),
        ("torch.Tensor.dist", torch.Tensor.dist),
    ],
)
def test_a_path_names_an_object(path: str, value: object) -> None:
    assert resolve_path(path, "it must be there") is value


@pytest.mark.parametrize(
    "path",
    ["nowhere.Net", "json.nothing", "torch.nn.functional.mine", "torch.Tensor.mine", "a b.c", ""],
)
def test_a_path_that_names_nothing(path: str) -> None:
    with pytest.raises(UserError, match=rf"^it must be there, got {path!r}$"):
        resolve_path(path, "it must be there")


@pytest.mark.parametrize("name", ["broken_at_once", "broken_deeper.inside"])
def test_an_import_error_inside_a_module_is_not_hidden(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    file.write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        resolve_path(f"{name}.Net", "it must be there")
