"""The files of a release: a source distribution, and the wheel that is built from it."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.release.environment import ReleaseError, run

ROOT = Path(__file__).parents[2]
FOLDERS = ("autoquant", "conf")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
BUILT = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
READ_LATER = "functions.h"
"""Of the kernels' sources the one that is installed: an exported C program has its formulas."""
OTHERS = ("tests", "conf", "benchmarks", "studies", "examples", "docs")
"""Folders of the repository that are not installed under these names."""


@dataclass(frozen=True)
class Built:
    """The files of a release."""

    sdist: Path
    wheel: Path


def build(source: Path, dist: Path) -> Built:
    """Build the source distribution from a copy of the checkout, and the wheel from it.

    Args:
        source: folder that is made for the copy, so that nothing that was built before gets in.
        dist: folder of the built files; is emptied.
    """
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=BUILT)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    shutil.rmtree(dist, ignore_errors=True)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source], cwd=ROOT)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    return Built(sdist, wheel)


def check(built: Built) -> None:
    """Raise a ReleaseError where a file is missing, or the index would refuse the metadata.

    Args:
        built: the files of a release.
    """
    with tarfile.open(built.sdist) as archive:
        names = below(f"{built.sdist.name.removesuffix('.tar.gz')}/", archive.getnames())
    required = package_files()
    require(required | files_of("conf", "*.py", "*.yaml") | {*FILES}, names, built.sdist)
    refuse((name for name in names if name.endswith((".so", ".pyd", ".pyc"))), built.sdist)

    names = set(zipfile.ZipFile(built.wheel).namelist())
    sources = files_of("autoquant/quantization/native", "*.c", "*.h")
    required -= sources - {f"autoquant/quantization/native/{READ_LATER}"}
    required |= {f"autoquant/{name}" for name in files_of("conf", "*.py", "*.yaml")}
    require(required, names, built.wheel)
    refuse((name for name in names if name.split("/")[0] in OTHERS), built.wheel)
    if shutil.which("cc"):
        kernels = [name for name in names if Path(name).match("**/native/_kernels*")]
        require({"the C kernels"}, {"the C kernels"} if kernels else set(), built.wheel)
    twine = [sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel]
    run(twine, cwd=ROOT)


def package_files() -> set[str]:
    """Files of the package, by their paths from the repository's root, but for what is built."""
    found = files_of("autoquant", "*.*")
    return {name for name in found if not name.endswith((".so", ".pyd", ".pyc"))}


def files_of(folder: str, *patterns: str) -> set[str]:
    """Files of the repository below a folder, by their paths from its root."""
    paths = (path for pattern in patterns for path in (ROOT / folder).rglob(pattern))
    return {path.relative_to(ROOT).as_posix() for path in paths}


def below(prefix: str, names: Iterable[str]) -> set[str]:
    """What the names are below a folder."""
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def require(required: set[str], names: set[str], file: Path) -> None:
    if missing := sorted(required - names):
        raise ReleaseError(f"{file.name} must have {', '.join(missing)}")


def refuse(names: Iterable[str], file: Path) -> None:
    if listed := sorted(names):
        raise ReleaseError(f"{file.name} must not have {', '.join(listed)}")
