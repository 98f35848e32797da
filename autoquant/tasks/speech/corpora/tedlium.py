"""TED-LIUM: SPLIT/stm/*.stm, whose lines are segments of SPLIT/sph/*.sph."""

from __future__ import annotations

import math
import re
from pathlib import Path

from autoquant.tasks.speech.corpora.transcripts import read_transcripts
from autoquant.tasks.speech.utterance import Utterance

FOLDERS = {"train": "train", "valid": "dev", "test": "test"}
IGNORED = "ignore_time_segment_in_scoring"
"""Transcript of a region that is neither trained on nor scored."""
_NOISE = re.compile(r"\(\d+\)|<[^>]*>|\{[^}]*\}|\[[^\]]*\]")
"""Numbers of pronunciations, marks of noise and of unknown words."""
MIN_FIELDS = 7


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The segments of a split; those that are to be ignored, or have no words, are left out.

    A line of an STM file is: file, channel, speaker, start, end, label, words. Lines that begin
    with ";;" are comments.

    Args:
        folder: with the folders train, dev and test, or the one that "legacy" is in.
        split: "train", "valid" or "test".
    """
    found = []
    for root in (folder, folder / "legacy"):
        for file in sorted((root / FOLDERS[split] / "stm").glob("*.stm")):
            for number, line in enumerate(read_transcripts(file).splitlines()):
                if (utterance := _segment(line, number, file)) is not None:
                    found.append(utterance)
    return sorted(found, key=lambda utterance: utterance.name)


def _segment(line: str, number: int, file: Path) -> Utterance | None:
    """The segment of a line; None where there is none.

    Args:
        line: of the file.
        number: of the line, from 0.
        file: with the segments.
    """
    fields = line.split(maxsplit=MIN_FIELDS - 1)
    if line.startswith(";;") or len(fields) < MIN_FIELDS - 1:
        return None
    label_and_words = fields[5:]
    text = label_and_words[-1] if label_and_words[0].startswith("<") else " ".join(label_and_words)
    text = text.replace(" '", "'")  # written apart from their words
    if IGNORED in text or not (words := " ".join(_NOISE.sub(" ", text).split())):
        return None
    try:
        start, end = float(fields[3]), float(fields[4])
    except ValueError:
        return None
    if not 0 <= start < end < math.inf:
        return None
    path = file.parents[1] / "sph" / f"{fields[0]}.sph"
    return Utterance(f"{file.stem}-{number:05}", path, words, fields[2], start, end)
