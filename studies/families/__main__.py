"""``python -m studies.families``: writes the tables of README.md anew."""

from __future__ import annotations

import argparse
import platform
import re
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.machine import cpu_name
from studies.families import coverage, scaling

OTHERS = ("torchvision", "timm", "transformers")
README = Path(__file__).parent / "README.md"
PARTS: dict[str, Callable[[], str]] = {"coverage": coverage.table, "scaling": scaling.table}


def main() -> None:
    """Make the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m studies.families", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
    given = parser.parse_args().parts or [*PARTS]
    if unknown := [each for each in given if each not in PARTS]:
        parser.error(f"PART must be one of {', '.join(PARTS)}, got {unknown[0]!r}")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # other libraries' deprecations
    for part in given:
        _write(part, f"{PARTS[part]()}\n{_facts()}\n")


def _facts() -> str:
    """What the figures depend on."""
    versions = {name: _version(name) for name in ("torch", *OTHERS)}
    held = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"Seed 0; Python {platform.python_version()}, {held}; {cpu_name()}."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write(part: str, table: str) -> None:
    """Put a table between its two marks."""
    text = README.read_text()
    marks = f"<!-- {part} -->", f"<!-- end of {part} -->"
    pattern = re.compile(f"{marks[0]}.*{marks[1]}", re.DOTALL)
    README.write_text(pattern.sub(lambda _: f"{marks[0]}\n\n{table}\n{marks[1]}", text))


if __name__ == "__main__":
    main()
