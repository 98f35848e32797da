"""Common Voice: train.tsv, dev.tsv and test.tsv, whose paths are files of the folder clips."""

from __future__ import annotations

import csv
from pathlib import Path

from autoquant.tasks.speech.utterance import Utterance

FILES = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The clips of a split.

    Args:
        folder: of one language, with the three tables.
        split: "train", "valid" or "test".
    """
    table = folder / FILES[split]
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = [
        Utterance(row["path"], folder / "clips" / row["path"], row["sentence"], row["client_id"])
        for row in rows
        if row.get("path") and row.get("sentence") and row.get("client_id")
    ]
    return sorted(found, key=lambda utterance: utterance.name)
