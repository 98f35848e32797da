"""The text files of a corpus: transcripts, tables and lists."""

from __future__ import annotations

from pathlib import Path

from autoquant.errors import UserError, first_line


def read_transcripts(path: Path) -> str:
    """The content of a text file of a corpus.

    Args:
        path: of the file.

    Raises:
        UserError: it cannot be read, or is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        requirement = f"'{path}' must be a readable text in UTF-8"
        raise UserError(f"{requirement}, got {first_line(error)}") from error
