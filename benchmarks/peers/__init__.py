"""Other libraries, each imported in its own module only; one that is not installed is Absent."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.case import Absent


def need(*packages: str) -> None:
    """Raise Absent unless all packages are installed.

    Args:
        *packages: names to import.
    """
    for package in packages:
        if find_spec(package) is None:
            raise Absent(f"{package} is not installed (make bench installs it)")
