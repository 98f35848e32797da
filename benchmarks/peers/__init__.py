"""Other libraries, each behind its own door: a peer that is not installed is Absent."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.case import Absent


def need(*packages: str) -> None:
    """Raise Absent unless all of these are installed."""
    for package in packages:
        if find_spec(package) is None:
            raise Absent(f"{package} is not installed (make bench installs it)")
