"""TrialLog: the file that records the trials of a search, a line of JSON for each change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoquant.files import append_text, remove_incomplete_line, to_disk
from autoquant.reading import UnreadableError, read_json

Entry = dict[str, Any]
"""A line: "event" says what has happened."""


class DamagedLog(ValueError):
    """A line is not what a search wrote; the message says where, as in "in line 3"."""


class TrialLog:
    """The changes of trials, in order.

    A line is in the file when ``append`` returns. A killed process leaves at most an incomplete
    last line, which is removed when the log is opened.

    Args:
        path: of the file; made at the first line.

    Raises:
        WriteError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        remove_incomplete_line(path)

    def append(self, *entries: Entry) -> None:
        """Write lines.

        Args:
            *entries: plain values.

        Raises:
            WriteError: the file cannot be written.
        """
        lines = (json.dumps(entry, separators=(",", ":")) for entry in entries)
        append_text(self._path, "".join(f"{line}\n" for line in lines))

    def to_disk(self) -> None:
        """Wait until all lines are on the disk, so that a power failure leaves them."""
        to_disk(self._path)

    def entries(self) -> Iterator[Entry]:
        """The lines, in order.

        Raises:
            DamagedLog: a line is not a JSON object.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    entry = read_json(line)
                except UnreadableError as error:
                    raise DamagedLog(f"in line {number}") from error
                if not isinstance(entry, dict):
                    raise DamagedLog(f"in line {number}")
                yield entry
