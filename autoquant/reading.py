"""Reading files and JSON that anybody may have written: bounded in size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 100_000_000


class UnreadableError(ValueError):
    """A text is not what it should be; the message says in what way, as in "a syntax error"."""


def read_file(path: Path, most: int) -> str:
    """The text of a file.

    Args:
        path: of an existing file, in UTF-8.
        most: characters that it may have.

    Raises:
        UnreadableError: it has more, or it is no such text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(most + 1)
    except UnicodeDecodeError as error:
        raise UnreadableError("bytes that are no UTF-8 text") from error
    check_length(text, most)
    return text


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: of one value.

    Raises:
        UnreadableError: it is no JSON, too large or too deep.
    """
    check_length(text, MAX_JSON_BYTES)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"a syntax error at line {error.lineno}") from error
    except UnicodeDecodeError as error:
        raise UnreadableError("bytes that are no UTF-8 text") from error
    except RecursionError as error:
        raise UnreadableError("values that are nested too deeply") from error
    except ValueError as error:
        raise UnreadableError("a number with too many digits") from error


def read_json_file(path: Path) -> Any:
    """The value of a JSON file.

    Args:
        path: of an existing file.

    Raises:
        UnreadableError: see ``read_json``.
    """
    return read_json(read_file(path, MAX_JSON_BYTES))


def check_length(text: str | bytes, most: int) -> None:
    """Raise an UnreadableError where a text is longer than it may be.

    Args:
        text: what was read.
        most: characters, or bytes, that it may have.
    """
    if len(text) > most:
        raise UnreadableError(f"more than {most} bytes")
