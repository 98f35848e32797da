"""What a task stores beside a packed file: plain files, and reading that trusts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.artifact import assets as module
from autoquant.artifact import packed_file
from autoquant.artifact.assets import check_assets, write_assets
from autoquant.errors import WriteError
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from tests.runtime.pairs import noise, pair
from tests.toys import plan_of, prepared

STORED = {"vocabulary": b"a\nb\n", "names-2.txt": b"", "_x": bytes(range(256))}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("packed")
    return pair(folder, lambda: nn.Linear(3, 2), LayerChoice(4, 8), noise(4, 3)).path.read_bytes()


@pytest.fixture
def artifact(packed: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed)
    return path


def test_what_is_written_is_read(artifact: Path) -> None:
    write_assets(artifact.parent, check_assets(STORED))
    assert aq.assets(artifact) == aq.assets(str(artifact)) == STORED
    assert (artifact.parent / "assets" / "vocabulary").read_bytes() == b"a\nb\n"


def test_without_a_folder_there_are_none(artifact: Path) -> None:
    assert aq.assets(artifact) == {}
    write_assets(artifact.parent, {})
    assert [*artifact.parent.iterdir()] == [artifact]


def test_the_packed_file_is_read_too_and_comes_first(tmp_path: Path) -> None:
    model, network = prepared(nn.Linear(3, 2, bias=False))
    plan = plan_of(network, LayerChoice(32, 32))
    inside = {"vocabulary": b"inside\n", "more": b"1"}
    with torch.no_grad():
        path = tmp_path / "packed"
        packed_file.save(path, model, network, plan, Scheme(), assets=inside)
    write_assets(tmp_path, {"vocabulary": b"beside\n", "other": b"2"})
    assert aq.assets(path) == inside | {"other": b"2"}


def test_hidden_files_are_left_out(artifact: Path) -> None:
    write_assets(artifact.parent, {"vocabulary": b"a\n"})
    (artifact.parent / "assets" / ".DS_Store").write_bytes(b"x")
    assert aq.assets(artifact) == {"vocabulary": b"a\n"}


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a b", "ä", "a\n", "x" * 101, 3, None]
)
def test_names_that_are_no_plain_files(name: Any) -> None:
    with pytest.raises(aq.UserError, match="an asset's name must be of letters, digits"):
        check_assets({name: b""})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (["a"], r"assets of a task must be a mapping of bytes, got \['a'\]"),
        ({"a": "text"}, "asset a must be at most 100000000 bytes, got 'text'"),
    ],
    ids=["a list", "a text"],
)
def test_other_values_are_refused(content: Any, line: str) -> None:
    with pytest.raises(aq.UserError, match=line):
        check_assets(content)


def test_large_assets_are_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_assets(artifact.parent, {"a": b"1234", "b": b""})
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    with pytest.raises(aq.UserError, match="asset a must be at most 3 bytes, got 4 bytes"):
        check_assets({"a": b"1234"})
    with pytest.raises(aq.UserError, match="a' must have at most 3 bytes, got more"):
        aq.assets(artifact)
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(aq.UserError, match="assets' must have at most 1 files, got 2"):
        aq.assets(artifact)


@pytest.mark.parametrize("what", ["link", "folder", "name"])
def test_what_is_no_plain_file_is_refused(what: str, artifact: Path) -> None:
    folder = artifact.parent / "assets"
    folder.mkdir()
    if what == "link":
        (folder / "vocabulary").symlink_to(artifact)
    elif what == "folder":
        (folder / "vocabulary").mkdir()
    else:
        (folder / "a b").write_bytes(b"")
    with pytest.raises(aq.UserError, match="a folder of assets must have plain files alone, got "):
        aq.assets(artifact)


def test_a_packed_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(aq.UserError, match="artifact must be an existing packed file"):
        aq.assets(tmp_path / "no")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "assets").write_bytes(b"a file")
    with pytest.raises(WriteError, match="assets' cannot be written"):
        write_assets(tmp_path, {"a": b""})
