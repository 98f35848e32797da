"""Common Voice: train.tsv, dev.tsv and test.tsv, whose paths are files of the folder clips."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from autoquant.errors import UserError, shown
from autoquant.tasks.speech.corpora.transcripts import read_transcripts
from autoquant.tasks.speech.utterance import Utterance

COLUMNS = ("client_id", "path", "sentence")
FILES = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The clips of a split.

    Args:
        folder: of one language, with the three tables.
        split: "train", "valid" or "test".

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    table = folder / FILES[split]
    if not table.is_file():
        return []
    text = io.StringIO(read_transcripts(table), newline="")
    rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows and not {*COLUMNS} <= {*rows[0]}:
        requirement = f"'{table}' must have the columns {', '.join(COLUMNS)}"
        raise UserError(f"{requirement}, got {shown(', '.join(map(str, rows[0])))}")
    found = [
        Utterance(row["path"], folder / "clips" / row["path"], row["sentence"], row["client_id"])
        for row in rows
        if row.get("path") and row.get("sentence") and row.get("client_id")
    ]
    return sorted(found, key=lambda utterance: utterance.name)
