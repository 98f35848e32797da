"""The pages of the Python interface name everything that is public."""

from __future__ import annotations

import re

import pytest
from public_names import public_name

import autoquant
from autoquant import task
from tests.docs.examples import ROOT
from tests.test_docstrings import EXTENSION_POINTS

DOCUMENTED = re.compile(r"^\.\. auto\w+:: (\S+)$", re.MULTILINE)
DECORATORS = {name for name in EXTENSION_POINTS if name.islower()}
PROTOCOLS = {name for name, each in vars(task).items() if getattr(each, "_is_protocol", False)} - {
    "Protocol"
}


def documented(*pages: str) -> list[str]:
    """Names that pages of the reference document, without their modules."""
    texts = ((ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8") for page in pages)
    return [name.rpartition(".")[2] for text in texts for name in DOCUMENTED.findall(text)]


def test_everything_public_is_documented_once() -> None:
    names = documented("api", "tasks", "extensions")
    assert set(autoquant.__all__) <= set(names)
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"task"}  # a decorator that both pages need


def test_protocols_of_a_task_are_documented() -> None:
    assert {"Task", "SupportsAssets"} <= PROTOCOLS
    assert set(documented("tasks")) >= PROTOCOLS


def test_extension_points_are_documented() -> None:
    assert "sampler" in DECORATORS
    assert set(documented("extensions")) >= DECORATORS


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("autoquant.plan.Plan", "autoquant.Plan"),
        ("Plan", "autoquant.Plan"),
        ("torch.Plan", None),
        ("autoquant.graph.network.Network", None),
    ],
)
def test_where_a_reference_leads(target: str, name: str | None) -> None:
    assert public_name(target) == name
