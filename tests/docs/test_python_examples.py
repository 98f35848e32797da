"""Every Python example of README.md and docs/ runs as written, but for sizes.

The examples of a page run in order, in one namespace. Pages of CONTINUED go on from the example of
a user's own model. An example that cannot run has a comment in front of it:
``<!-- not run: the reason -->``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoquant import task
from autoquant.quantization import scale_rules
from autoquant.samplers import registry as samplers
from autoquant.settings import SAMPLERS, SCALES
from tests.docs.examples import PAGES, blocks

SHORT = "qat=aq.Training(steps=2), final=aq.Training(steps=2)"
FEW = f"trials=1, references=(), sensitivity=1, rounds=aq.Rounds(orders=1), {SHORT}"
SMALLER = {
    "README.md": {
        "6000, 16).split([5000, 500, 500])": "600, 16).split([400, 100, 100])",
        "range(10)": "range(1)",
        "trials=8": FEW,
    },
    "docs/tutorial.md": {
        'budget="0.1x", threads=1': f'budget="0.5x", baseline=aq.Training(steps=4), {FEW}'
    },
    "docs/guides/your-own-model.md": {
        "walks(4000)": "walks(400)",
        "num_workers=2": "num_workers=0",
        "range(8)": "range(1)",
        "trials=8": FEW,
    },
    "docs/guides/write-a-task.md": {
        "trials=2, baseline=aq.Training(epochs=10.0, lr=1e-2)": (
            f"{FEW}, baseline=aq.Training(steps=4)"
        ),
        "stdlib()": "stdlib(tokens=4000, vocabulary=400, embedding=32, hidden=32)",
        "report=True": "report=False",
        "trials=16": f'budget="0.5x", baseline=aq.Training(steps=4), {FEW}',
    },
    "docs/guides/callbacks.md": {"trials=8": FEW},
}
"""What is written on a page, and what is run instead."""

OWN_MODEL = "docs/guides/your-own-model.md"
CONTINUED = {"docs/guides/packed-files.md", "docs/guides/callbacks.md"} | {
    "docs/guides/plans-and-rules.md"
}
WITH_PYTHON = [page for page in PAGES if any(blocks(page, "python"))]


def run(page: str, names: dict[str, Any]) -> None:
    """Run the examples of a page.

    Args:
        page: its path.
        names: of its namespace, which grows.
    """
    code = [(block.line, block.code) for block in blocks(page, "python") if not block.reason]
    for written, small in SMALLER.get(page, {}).items():
        assert any(written in each for _, each in code), f"{page} has no {written}"
        code = [(line, each.replace(written, small)) for line, each in code]
    for line, each in code:
        exec(compile("\n" * (line - 1) + each, page, "exec"), names)


@pytest.fixture(autouse=True)
def extensions_forgotten() -> Iterator[None]:
    """Extensions that a page registers do not outlive it."""
    registries = (task.TASKS, task.PREFERRED, samplers._SAMPLERS, scale_rules._RULES)
    before, names = [dict(each) for each in registries], ([*SAMPLERS], [*SCALES])
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    SAMPLERS[:], SCALES[:] = names


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the names that the example of a user's own model leaves."""
    folder, before = tmp_path_factory.mktemp("own"), Path.cwd()
    names: dict[str, Any] = {"__name__": "example"}
    os.chdir(folder)
    try:
        run(OWN_MODEL, names)
    finally:
        os.chdir(before)
    return folder, names


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page not in CONTINUED])
def test_the_examples_of_a_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page == OWN_MODEL:
        _, names = request.getfixturevalue("own_model")
    else:
        monkeypatch.chdir(tmp_path)
        names = {"__name__": "example"}
        run(page, names)
    if (applied := names.get("applied")) is not None:
        found, metric = names["found"], names["task"].metric
        assert applied.plan == found.best.plan
        assert applied.metric == metric or metric == "agreement"


@pytest.mark.parametrize("page", sorted(CONTINUED))
def test_the_examples_that_go_on_from_a_user_s_own_model(
    page: str, own_model: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = own_model
    monkeypatch.chdir(folder)
    mine = dict(names)
    run(page, mine)
    assert mine.keys() > names.keys()


def test_the_example_of_the_readme_is_short() -> None:
    first = next(blocks("README.md", "python"))
    assert "DataLoader" in first.code
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 15


def test_examples_that_are_not_run_say_why() -> None:
    """A new one is a decision: it is listed here."""
    reasons = [block.page for page in PAGES for block in blocks(page, "python") if block.reason]
    assert reasons == ["docs/guides/dask.md", "docs/guides/dask.md", "docs/guides/export.md"]


def test_examples_are_found() -> None:
    assert {"README.md", OWN_MODEL, *CONTINUED, *SMALLER} <= set(WITH_PYTHON)
