"""The name of the distribution, and that its extras are those that messages name."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import autoquant
from autoquant.distribution import NAME, extra_command

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_name_is_that_of_the_project():
    assert PROJECT["name"] == NAME
    assert autoquant.__version__ == version(NAME)


def test_the_command_names_distribution_and_extra():
    assert extra_command("onnx") == "pip install 'autoquant-torch[onnx]'"


def test_extras_that_the_code_names_are_there():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "autoquant").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"extra_command\('(\w+)'\)", text)}
    assert {"digits", "onnx", "speech", "tensorboard"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


def test_no_file_names_the_other_product():
    files = [*ROOT.glob("*.md"), *(ROOT / "conf").rglob("*.yaml")]
    files += [*(ROOT / "autoquant").rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    wrong = re.compile(r"pip install '?autoquant(?!-torch)\b(?![/.])|'autoquant\[")
    assert [path for path, text in texts.items() if wrong.search(text)] == []
