"""The package built from a copy of its sources, and installed apart from this environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cli.typed import ROOT

FOLDERS = ("autoquant", "conf")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
BUILT = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")


def copy_sources(folder: Path) -> Path:
    """A copy of what the package is built from, without anything that is built already."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=BUILT)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a source folder or of a source distribution, built offline."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment, which borrows the packages that it needs from here.

    Returns:
        the environment's site-packages.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*pip, wheel], check=True)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(packages))  # searched after the wheel's own
    return site


def run_installed(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in an environment, in an empty folder of it that must stay empty.

    Args:
        folder: of the environment.
        code: to run.
        *arguments: of the code.
    """
    empty = folder / "empty"
    empty.mkdir()
    hidden = {"PYTHONPATH", "AUTOQUANT_KERNELS"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [folder / "bin/python", "-c", code, *arguments]
    ran = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not list(empty.iterdir())
    return ran
