"""Writing files atomically: a file has its old content or its new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends.

    When the block raises, ``path`` is unchanged and the temporary file is removed.

    Args:
        path: of the file to be written, in an existing folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically.

    Args:
        path: of the file, in an existing folder.
        text: its whole content.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
