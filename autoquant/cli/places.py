"""Studies and packed files below the current folder, for the completion of paths."""

from __future__ import annotations

import csv
from pathlib import Path

from autoquant.reading import MAX_JSON_BYTES


def studies(root: Path) -> list[str]:
    """The studies in a folder, and in the folders of it.

    Args:
        root: such as "runs".
    """
    found = [*root.glob("*/config.yaml"), *root.glob("*/*/config.yaml")]
    return sorted(str(file.parent) for file in found)


def packed_files(root: Path) -> list[str]:
    """The packed files of the studies in a folder.

    Args:
        root: such as "runs".
    """
    found = [*root.glob("*/applied/*/*.safetensors"), *root.glob("*/packed/*.safetensors")]
    return sorted(map(str, found))


def trials(study: Path) -> list[str]:
    """The names of a search's trials, or of a sweep's runs.

    Args:
        study: its folder.
    """
    csv.field_size_limit(MAX_JSON_BYTES)  # the plan of a large model is a long field
    for name, column in (("runs.csv", "name"), ("outcomes.csv", "trial")):
        file = study / name
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as lines:
                return [row[column] for row in csv.DictReader(lines) if row.get(column)]
    return []
