"""Links between files of the repository, and pages of the site that show such files."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from repository_files import FENCE, LINK, adapted, pages_in

from tests.docs.examples import PAGES, ROOT

OTHERS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "benchmarks/*.md", "studies/**/*.md")
    for path in ROOT.glob(pattern)
)
EVERY = sorted({*PAGES, *OTHERS})


def slug(heading: str) -> str:
    """The anchor of a heading, as it is made from its text."""
    plain = re.sub(r"[`*]|\{\w+\}", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """The anchors of a Markdown file: of its headings, and those that it names."""
    text = path.read_text(encoding="utf-8")
    prose = "".join(FENCE.split(text)[::2])
    shown = re.findall(r"^<!-- repository file: (\S+) -->$", text, re.M)
    own = {slug(each) for each in re.findall(r"^#+ (.*)$", prose, re.M)}
    return own.union(re.findall(r"^\((\S+)\)=$", prose, re.M), *(anchors(ROOT / s) for s in shown))


@pytest.mark.parametrize("page", EVERY)
def test_links_lead_to_files_and_headings(page: str) -> None:
    """Anchors of pages that are written when the site is built are checked by that build."""
    prose = "".join(FENCE.split((ROOT / page).read_text(encoding="utf-8"))[::2])
    for found in LINK.finditer(prose):
        path, _, anchor = found["target"].partition("#")
        if ":" in path:
            continue
        target = ROOT / os.path.normpath(PurePosixPath(page).parent / path) if path else ROOT / page
        assert target.exists(), f"{page}: {found[0]}"
        target = target / "README.md" if target.is_dir() else target
        if anchor and "<!-- generated:" not in target.read_text(encoding="utf-8"):
            assert anchor in anchors(target), f"{page}: {found[0]}"


def test_links_of_a_shown_file_are_those_of_its_page() -> None:
    pages = {"studies/ptb/README.md": "studies/ptb.md", "studies/claims.md": "studies/claims.md"}
    text = "[a](../claims.md#x) [b](../../README.md) [c](../ptb) ![d](../../LICENSE) [e](https://e)"
    shown = adapted(text, "studies/ptb/README.md", "studies/ptb.md", pages)
    assert shown == (
        "[a](claims.md#x) [b](../../README.md) [c](ptb.md) ![d](../../LICENSE) [e](https://e)"
    ).replace("[b](../../README.md)", "b")


def test_folders_and_pages_that_the_site_lacks_are_text() -> None:
    text = "[f](studies) [g](LICENSE) `[h](studies)`\n```sh\n[i](studies)\n```\n"
    shown = adapted(text, "CONTRIBUTING.md", "development/contributing.md", {})
    assert shown.startswith("f [g](../../LICENSE) ")
    assert shown.endswith("```sh\n[i](studies)\n```\n")


def test_every_study_and_text_of_the_repository_has_a_page() -> None:
    shown = pages_in(ROOT / "docs")
    assert set(OTHERS) - set(shown) == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120
