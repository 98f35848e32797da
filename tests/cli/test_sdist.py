"""The source distribution: it has everything that the package is built from, kernels included."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cli.installed import build_wheel, copy_sources, install, run_installed
from tests.cli.typed import ROOT

HAS_COMPILER = shutil.which("cc") is not None


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built offline."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    source.mkdir()
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder]
    ran = subprocess.run([*build, copy_sources(source)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (path,) = folder.glob("*.tar.gz")
    return path


def files_of(folder: str, *patterns: str) -> set[str]:
    """Files of the repository below a folder, by their paths from its root."""
    paths = (path for pattern in patterns for path in (ROOT / folder).rglob(pattern))
    return {path.relative_to(ROOT).as_posix() for path in paths}


def templates() -> set[str]:
    """What the page of a study is rendered from."""
    found = files_of("autoquant/report_page/templates", "*.jinja", "*.css", "*.js")
    assert found
    return found


def below(prefix: str, names: Iterable[str]) -> set[str]:
    """What the names are below a folder."""
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def test_no_source_is_missing(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = below(f"{sdist.name.removesuffix('.tar.gz')}/", archive.getnames())
    c_sources = files_of("autoquant", "*.c", "*.h")
    assert c_sources
    assert c_sources <= names
    assert files_of("autoquant", "*.py", "py.typed") <= names
    assert templates() <= names
    assert files_of("conf", "*.py", "*.yaml") <= names
    assert {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]


@pytest.mark.slow
def test_what_is_installed_from_it_is_whole(sdist: Path, tmp_path: Path) -> None:
    wheel = build_wheel(sdist, tmp_path)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert files_of("autoquant", "*.py", "py.typed") <= names
    assert templates() <= names
    headers = files_of("autoquant/exports", "*.h")  # an exported C program is made of them
    assert headers
    assert {*headers, "autoquant/quantization/native/functions.h"} <= names
    assert {f"autoquant/{name}" for name in files_of("conf", "*.py", "*.yaml")} <= names
    assert not [name for name in names if name.startswith(("tests", "conf", "benchmarks"))]

    site = install(wheel, tmp_path / "venv")
    code = "import autoquant; from autoquant.quantization import native; "
    code += "print(autoquant.__file__, native.available(), sep='\\n')"
    file, available = run_installed(tmp_path / "venv", code).stdout.splitlines()
    assert file.startswith(str(site))
    assert available == "True" or not HAS_COMPILER
