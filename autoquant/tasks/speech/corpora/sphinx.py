"""Sphinx: etc/*_SPLIT.fileids and .transcription, features (.mfc) or sounds in feat or wav."""

from __future__ import annotations

import re
from pathlib import Path

from autoquant.tasks.speech.corpora.transcripts import read_transcripts
from autoquant.tasks.speech.utterance import Utterance

NAMES = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
PLACES = (("feat", ".mfc"), ("feat.zip", ".mfc"), ("wav", ".wav"), ("wav", ".sph"))
"""Folders or archives, and the endings of the files in them."""
_LINE = re.compile(r"(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<name>[^()\s]+)\)\s*")
"""A line of a transcription: the words, then the utterance's name in brackets."""


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The utterances that the list of a split names; the speaker is the folder they are in.

    Args:
        folder: with "etc" and the features, such as AN4.
        split: "train", "valid" or "test".
    """
    found: list[Utterance] = []
    for name in NAMES[split]:
        for listed in sorted((folder / "etc").glob(f"*_{name}.fileids")):
            texts = _transcripts(listed.with_suffix(".transcription"))
            for line in read_transcripts(listed).split():
                member = Path(line)
                if member.name in texts:
                    path = _path(folder, line)
                    found.append(Utterance(line, path, texts[member.name], member.parent.name))
    return sorted(found, key=lambda utterance: utterance.name)


def _transcripts(file: Path) -> dict[str, str]:
    """The texts by the names of the utterances, without paths.

    Args:
        file: with the transcripts.
    """
    if not file.is_file():
        return {}
    matches = map(_LINE.fullmatch, read_transcripts(file).splitlines())
    return {match["name"].rpartition("/")[2]: match["text"] for match in matches if match}


def _path(folder: Path, line: str) -> Path:
    """Where the features or the sound of an utterance are.

    Args:
        folder: of the corpus.
        line: of a list.
    """
    for place, ending in PLACES:
        root = folder / place
        if root.suffix == ".zip" and root.is_file():
            return root / f"{line}{ending}"
        if (root / f"{line}{ending}").is_file():
            return root / f"{line}{ending}"
    return folder / PLACES[0][0] / f"{line}{PLACES[0][1]}"
