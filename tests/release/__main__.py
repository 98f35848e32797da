"""A release: built into dist/, installed from there as a user does, and tried.

``python -m tests.release`` (``make release``) ends with one line that begins with OK, or with the
first error. It takes packages from the index, at the versions of constraints.txt. With the argument
``files`` it ends when the files are built and checked: no environment is made.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.release import alone, built, whole
from tests.release.environment import Environment, ReleaseError

ROOT = Path(__file__).parents[2]


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print what is done, and the seconds that it took."""
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)


def release(dist: Path, *, tried: bool) -> None:
    """Build a release and try it.

    Args:
        dist: folder of the built files; those of earlier releases in it are removed.
        tried: whether the wheel is installed and run.

    Raises:
        ReleaseError: something does not hold.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with step("source distribution, and the wheel from it"):
            files = built.build(folder / "source", dist)
        with step("contents, metadata, README (twine check --strict)"):
            built.check(files)
        if not tried:
            return
        least = Environment(folder / "alone")
        with step("a new environment with the wheel, torch, numpy and safetensors"):
            alone.install(least, files.wheel)
        environment = Environment(folder / "whole", base=least)  # torch is large
        with step("another with the wheel and all that it requires besides"):
            environment.install("--ignore-installed", "--no-deps", files.wheel)
            environment.install(files.wheel)
        with step("all extras can be installed"):
            whole.check_extras(environment, files.wheel)
        with step("search, apply, evaluate and export in an empty folder"):
            packed = whole.run_commands(environment, folder / "empty")
        with step("the packed file where only torch, numpy and safetensors are"):
            alone.check(environment, least, packed)


def main() -> None:
    started, dist = time.monotonic(), ROOT / "dist"
    try:
        release(dist, tried=sys.argv[1:] != ["files"])
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    names = ", ".join(f"dist/{path.name}" for path in sorted(dist.iterdir()))
    print(f"OK: {names} ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
