"""``python -m studies.families``: measures and writes the tables of README.md."""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.machine import cpu_name
from studies.families import coverage, exports, scaling
from studies.markdown import write_between_marks

OTHERS = ("torchvision", "timm", "transformers", "onnxruntime")
README = Path(__file__).parent / "README.md"
PARTS: dict[str, Callable[[], str]] = {
    "coverage": coverage.table,
    "scaling": scaling.table,
    "exports": exports.table,
}


def main() -> None:
    """Measure and write the tables that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m studies.families", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
    parts = parser.parse_args().parts or [*PARTS]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"PART must be one of {', '.join(PARTS)}, got {unknown[0]!r}")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # other libraries' deprecations
    for part in parts:
        write_between_marks(README, part, f"{PARTS[part]()}\n{_facts()}\n")


def _facts() -> str:
    """What the numbers depend on: seed, versions and CPU."""
    versions = {name: _version(name) for name in ("torch", *OTHERS)}
    installed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"Seed 0; Python {platform.python_version()}, {installed}; {cpu_name()}."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
