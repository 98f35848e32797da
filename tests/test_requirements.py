"""What is required: the widest ranges, and the two lists of exact versions that are tested."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_USERS = ("digits", "speech", "onnx", "tensorboard", "ray", "slurm", "dask")


def required(*extras: str) -> list[Requirement]:
    texts = [text for extra in extras for text in EXTRAS[extra]]
    return [Requirement(text) for text in (*PROJECT["dependencies"], *texts)]


def pins(file: str) -> dict[str, Version]:
    """Exact versions by name; nothing else may stand in the file."""
    lines = (ROOT / file).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("extras", [("dev", "families", *FOR_USERS), ("bench",)], ids=str)
def test_all_that_is_installed_directly_has_an_exact_version(extras: tuple[str, ...]) -> None:
    versions = pins("constraints.txt")
    for requirement in required(*extras):
        if requirement.name != "brevitas":  # a peer, pinned in pyproject.toml
            version = versions.get(canonicalize_name(requirement.name))
            assert version is not None, requirement
            assert requirement.specifier.contains(version), (requirement, version)


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """So that ``make test-oldest`` tests what the package says it works with."""
    versions = pins("constraints-oldest.txt")
    for requirement in required(*FOR_USERS):
        (bound,) = [each.version for each in requirement.specifier if each.operator == ">="]
        assert versions[canonicalize_name(requirement.name)] == Version(bound), requirement
