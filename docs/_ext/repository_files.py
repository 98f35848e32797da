"""Pages that show a Markdown file of the repository: its links are made to work on the site.

A page says ``<!-- repository file: studies/ptb/README.md -->``. A link to another file that has a
page leads there; one to any other file of the repository downloads it; one to a folder,
or to a Markdown file without a page, is text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
"""Of the repository."""
MARK = re.compile(r"^<!-- repository file: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def pages_in(docs: Path) -> dict[str, str]:
    """The pages that show files of the repository, by the paths of these files.

    Args:
        docs: the folder of the site's sources; the pages are relative to it.
    """
    return {
        shown: page.relative_to(docs).as_posix()
        for page in sorted(docs.rglob("*.md"))
        for shown in MARK.findall(page.read_text(encoding="utf-8"))
    } | {"README.md": "index.md"}


def adapted(text: str, shown: str, page: str, pages: Mapping[str, str]) -> str:
    """The text of a file with links that lead to the same things from a page.

    Args:
        text: of the file, in Markdown.
        shown: path of the file in the repository.
        page: path of the page that shows it, in the folder of the site's sources.
        pages: see ``pages_in``.
    """
    link = partial(_link, shown=shown, page=page, pages=pages)
    parts = FENCE.split(text)  # every second one is code
    return "".join(
        part if number % 2 else LINK.sub(link, part) for number, part in enumerate(parts)
    )


def _link(found: re.Match[str], shown: str, page: str, pages: Mapping[str, str]) -> str:
    """A link of the site in place of one of the repository; see ``adapted``."""
    path, hash_sign, anchor = found["target"].partition("#")
    if not path or ":" in path:
        return found[0]
    target = os.path.normpath(PurePosixPath(shown).parent / path)
    readme = f"{target}/README.md"
    start = PurePosixPath(page).parent
    if (file := next((each for each in (target, readme) if each in pages), None)) is not None:
        path = os.path.relpath(pages[file], start)
    elif (ROOT / target).is_file() and not target.endswith(".md"):
        path = os.path.relpath(f"../{target}", start)
    elif (ROOT / target).exists():
        return found["text"]
    return f"{found['image']}[{found['text']}]({path}{hash_sign}{anchor})"


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Put files of the repository where a page names them.

    Args:
        app: of Sphinx.
        name: of the page.
        source: its text, which is replaced.
    """
    docs = Path(app.srcdir)
    page = Path(app.env.doc2path(name)).relative_to(docs).as_posix()

    def content(mark: re.Match[str]) -> str:
        app.env.note_dependency(str(ROOT / mark[1]))
        text = (ROOT / mark[1]).read_text(encoding="utf-8")
        return adapted(text, mark[1], page, pages_in(docs))

    source[0] = MARK.sub(content, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: of Sphinx.
    """
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
