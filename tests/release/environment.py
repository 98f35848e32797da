"""A new environment, in which nothing of the checkout is found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HIDDEN = {"PYTHONPATH", "PYTHONSTARTUP", "AUTOQUANT_KERNELS", "AUTOQUANT_PLUGINS", "VIRTUAL_ENV"}
"""Variables by which a process could find what is not installed."""
SLOW = {"PYTHONDONTWRITEBYTECODE"}
"""Variables by which each process would compile all of torch's Python code again."""
SHOWN = 3000
"""Characters of a failed program's output that are shown, at most."""


class ReleaseError(Exception):
    """Something of a release does not hold; the message says what."""


class Environment:
    """An environment of its own, as ``python -m venv`` makes it, without pip.

    Args:
        folder: of the environment; must not exist.
        base: another environment; what it has need not be installed again.
    """

    def __init__(self, folder: Path, base: Environment | None = None) -> None:
        self.folder = folder
        run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=ROOT)
        if base is not None:
            (self.packages / "base.pth").write_text(f"{base.packages}\n")

    @property
    def packages(self) -> Path:
        """The folder that packages are installed into."""
        (folder,) = self.folder.glob("lib/python*/site-packages")
        return folder

    def install(self, *requirements: str | Path) -> str:
        """Install packages from the index, at the versions of constraints.txt.

        Args:
            requirements: names, wheels, and options of ``pip install``.
        """
        pip = [sys.executable, "-m", "pip", "--python", self.folder / "bin" / "python", "install"]
        quiet = ["--quiet", "--no-compile", "--disable-pip-version-check"]
        return run([*pip, *quiet, "-c", ROOT / "constraints.txt", *requirements], cwd=ROOT)

    def run(self, program: str, *arguments: str | Path, cwd: Path) -> str:
        """Run an installed program; what it printed.

        Args:
            program: its name in the environment, such as "python".
            arguments: of the program.
            cwd: folder that it runs in.

        Raises:
            ReleaseError: it failed.
        """
        return run([self.folder / "bin" / program, *arguments], cwd=cwd)


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Run a program without the variables that lead to the checkout; what it printed.

    Args:
        command: the program and its arguments.
        cwd: folder that it runs in.

    Raises:
        ReleaseError: it failed.
    """
    variables = {key: value for key, value in os.environ.items() if key not in HIDDEN | SLOW}
    ran = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)
    if ran.returncode:
        output = (ran.stdout + ran.stderr).strip()[-SHOWN:]
        line = " ".join(map(str, command))
        raise ReleaseError(f"{line} ended with code {ran.returncode}:\n{output}")
    return ran.stdout
