"""Spoken strings of digits, made of the recordings of the Free Spoken Digit Dataset."""

from __future__ import annotations

import io
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import soundfile  # type: ignore[import-untyped, unused-ignore]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
SHORTEST, LONGEST = 3, 7
"""Digits of a string."""
PASSES = {"train": 3, "valid": 2, "test": 2}
"""How often each recording is used."""


HELD_OUT = {"nicolas": "valid", "theo": "test"}
"""Speakers of whom nothing is trained on, where splits are those of speakers."""


def split_of(speaker: str, index: int, *, by_speaker: bool) -> str:
    """The split of a recording: the official test set and the next five for validation.

    Args:
        speaker: of the recording.
        index: of the recording, 0 to 49.
        by_speaker: whether a split has speakers of its own instead.
    """
    if by_speaker:
        return HELD_OUT.get(speaker, "train")
    return "test" if index < 5 else "valid" if index < 10 else "train"


def write_corpus(archive: Path, folder: Path, *, by_speaker: bool = False) -> None:
    """Write a plain corpus: SPLIT/SPEAKER/NUMBER.wav beside NUMBER.txt.

    A string has recordings of one speaker and one split, and silence of 50 to 150 ms between them.

    Args:
        archive: recordings.zip of the dataset.
        folder: of the corpus; files that are there are written again.
        by_speaker: whether a split has speakers of its own; else all six speak in all splits.
    """
    with ZipFile(archive) as recordings:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in sorted(recordings.namelist()):
            if name.endswith(".wav"):
                _, speaker, index = Path(name).stem.split("_")
                groups[split_of(speaker, int(index), by_speaker=by_speaker), speaker].append(name)
        for (split, speaker), names in sorted(groups.items()):
            random_source = random.Random(f"{split} {speaker}")
            place = folder / split / speaker
            place.mkdir(parents=True, exist_ok=True)
            for number, string in enumerate(_strings(names, PASSES[split], random_source)):
                digits = [int(Path(name).stem.split("_")[0]) for name in string]
                (place / f"{number:04}.txt").write_text(" ".join(WORDS[d] for d in digits) + "\n")
                samples = _joined([recordings.read(name) for name in string], random_source)
                soundfile.write(place / f"{number:04}.wav", samples, RATE)


def _strings(names: Sequence[str], passes: int, source: random.Random) -> Iterator[list[str]]:
    """Recordings in strings, each recording once a pass; what is left at the end is not used.

    Args:
        names: of one speaker and split.
        passes: over the recordings.
        source: of the order and of the lengths.
    """
    for _ in range(passes):
        order = source.sample(list(names), len(names))
        while len(order) >= LONGEST:
            count = source.randint(SHORTEST, LONGEST)
            yield [order.pop() for _ in range(count)]


def _joined(contents: Sequence[bytes], source: random.Random) -> np.ndarray:
    """The samples of recordings, one after the other.

    Args:
        contents: of the files.
        source: of the silences.
    """
    parts = []
    for content in contents:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
        assert rate == RATE
        parts += [samples, np.zeros(round(RATE * source.uniform(0.05, 0.15)), np.float32)]
    return np.concatenate(parts)
