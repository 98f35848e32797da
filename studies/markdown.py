"""Tables in Markdown, and the places in a README that they are written to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def row_of(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a head and a line feed at its end."""
    return "\n".join([row_of(head), row_of(["---"] * len(head)), *map(row_of, rows)]) + "\n"


def write_between_marks(readme: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- end of name -->``.

    Args:
        readme: the file.
        name: of the two marks.
        text: that replaces what is between them.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{start}.*{end}", re.DOTALL)
    content = readme.read_text(encoding="utf-8")
    content = pattern.sub(lambda _: f"{start}\n\n{text}\n{end}", content)
    readme.write_text(content, encoding="utf-8")
