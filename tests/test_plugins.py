"""Modules of extensions that are imported before a command runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from autoquant.errors import UserError
from autoquant.plugins import load_plugins, resolve_callable, resolve_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; what is imported from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.delenv("AUTOQUANT_PLUGINS", raising=False)
    return tmp_path


def installed(folder: Path, value: str) -> None:
    """A package that names a module as a plugin, installed in a folder of Python's path."""
    info = folder / "site/somebody-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[autoquant.plugins]\nextensions = {value}\n")
    sys.path.append(str(folder / "site"))


@pytest.mark.parametrize("written", ["", " ", ",", " , "])
def test_without_plugins_nothing_is_imported(folder, monkeypatch, written):
    monkeypatch.setenv("AUTOQUANT_PLUGINS", written)
    path, modules = [*sys.path], set(sys.modules)
    load_plugins()
    assert sys.path == path
    assert set(sys.modules) - modules == set()


def test_modules_of_the_current_folder_are_imported(folder, monkeypatch):
    for name in ("first_plugin", "second_plugin"):
        (folder / f"{name}.py").write_text("loaded = True\n")
    monkeypatch.setenv("AUTOQUANT_PLUGINS", "first_plugin, second_plugin,")
    load_plugins()
    load_plugins()
    assert sys.modules["first_plugin"].loaded
    assert sys.modules["second_plugin"].loaded
    assert sys.path.count(str(folder)) == 1


def test_an_installed_package_names_its_module(folder):
    installed(folder, "installed_plugin")
    (folder / "site/installed_plugin.py").write_text("loaded = True\n")
    load_plugins()
    assert sys.modules["installed_plugin"].loaded


REASONS = {
    "": "No module named 'a_plugin'",
    "import not_there\n": "No module named 'not_there'",
    "1 / 0\n": "division by zero",
    "raise ValueError('two\\nlines')\n": "two",
    "def\n": "invalid syntax (a_plugin.py, line 1)",
}


@pytest.mark.parametrize("code", REASONS)
def test_a_module_that_cannot_be_imported_is_named(folder, monkeypatch, code):
    if code:
        (folder / "a_plugin.py").write_text(code)
    monkeypatch.setenv("AUTOQUANT_PLUGINS", "a_plugin")
    with pytest.raises(UserError) as caught:
        load_plugins()
    requirement = "AUTOQUANT_PLUGINS must name modules that can be imported"
    assert str(caught.value) == f"{requirement}, got 'a_plugin': {REASONS[code]}"


def test_an_entry_point_that_cannot_be_imported_is_named(folder):
    installed(folder, "missing_plugin")
    with pytest.raises(UserError) as caught:
        load_plugins()
    requirement = "the entry point 'extensions' of autoquant.plugins must be importable"
    reason = "No module named 'missing_plugin'"
    assert str(caught.value) == f"{requirement}, got 'missing_plugin': {reason}"


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


@pytest.mark.parametrize("path", ["nowhere.sampler", "json.__name__", "not_a_path"])
def test_a_setting_names_something_to_call(path: str) -> None:
    with pytest.raises(UserError, match=rf"^it must be there, got '{path}'"):
        resolve_callable(path, "it must be there")
