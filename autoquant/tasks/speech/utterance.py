"""Utterance: one stretch of speech, where it is and what is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """A file, or a part of one, and its transcript.

    Attributes:
        name: in its split; tells it from all others there.
        path: of the file with the sound, or with its features; a member of an archive is written
            behind the archive's path ("feat.zip/an4_clstk/fash/an251-fash-b.mfc").
        text: the transcript as it stands in the corpus.
        speaker: an empty text where it is not known.
        start: seconds at which it begins in the file.
        end: seconds at which it ends; None: at the end of the file.
    """

    name: str
    path: Path
    text: str
    speaker: str = ""
    start: float = 0.0
    end: float | None = None
