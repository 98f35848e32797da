"""LibriSpeech: SPLIT/SPEAKER/CHAPTER/*.flac beside SPEAKER-CHAPTER.trans.txt."""

from __future__ import annotations

from pathlib import Path

from autoquant.tasks.speech.corpora.transcripts import read_transcripts
from autoquant.tasks.speech.utterance import Utterance

FOLDERS = {"train": "train-*", "valid": "dev-*", "test": "test-*"}


def utterances(folder: Path, split: str) -> list[Utterance]:
    """The utterances of all folders of a split ("train-clean-100", "train-other-500", ...).

    Args:
        folder: "LibriSpeech", or the one that it is in.
        split: "train", "valid" or "test".
    """
    roots = [folder, folder / "LibriSpeech"]
    found = []
    for root in roots:
        for transcripts in sorted(root.glob(f"{FOLDERS[split]}/*/*/*.trans.txt")):
            for line in read_transcripts(transcripts).splitlines():
                name, _, text = line.partition(" ")
                if name:
                    path = transcripts.parent / f"{name}.flac"
                    found.append(Utterance(name, path, text, speaker=name.partition("-")[0]))
    return sorted(found, key=lambda utterance: utterance.name)
