"""Plain folders: SPLIT/**/NAME.wav (or flac, ogg, mp3, sph, npy) beside NAME.txt."""

from __future__ import annotations

from pathlib import Path

from autoquant.tasks.speech.corpora.transcripts import read_transcripts
from autoquant.tasks.speech.utterance import Utterance

FOLDERS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".sph", ".npy")
"""Of sounds, and of features [T, cepstra] that numpy wrote."""


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The files of a split that have a transcript; the speaker is the folder they are in.

    Args:
        folder: with the folders train, valid (or dev) and test.
        split: "train", "valid" or "test".
    """
    found = []
    for name in FOLDERS[split]:
        root = folder / name
        for path in sorted(root.rglob("*")):
            transcript = path.with_suffix(".txt")
            if path.suffix.lower() in ENDINGS and transcript.is_file():
                text = read_transcripts(transcript).strip()
                member = path.relative_to(root)
                speaker = member.parent.as_posix() if len(member.parts) > 1 else ""
                found.append(Utterance(member.as_posix(), path, text, speaker))
    return sorted(found, key=lambda utterance: utterance.name)
