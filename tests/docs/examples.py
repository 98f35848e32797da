"""The examples in README.md and docs/: which there are, and what a test changes to be quick."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SITE = (path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
PAGES = ("README.md", *sorted(path for path in _SITE if not path.startswith("docs/_build/")))
"""Paths of all pages, in the repository."""

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: its path.
        line: of its first line of code on the page.
        language: that is written behind the fence.
        code: the text.
        reason: why it is not run; empty where it is.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str = ""


def blocks(page: str, *languages: str) -> Iterator[Block]:
    """The blocks of some languages on a page, in order.

    Args:
        page: its path.
        languages: such as "python".
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        if found["language"] in languages:
            line = text.count("\n", 0, found.start("code")) + 1
            yield Block(page, line, found["language"], found["code"], found["reason"] or "")
