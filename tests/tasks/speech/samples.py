"""Small corpora of tones: each word is a tone of its own, in each layout that is read."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16_000
WORDS = {"one": 400, "two": 900, "six": 1800}
"""Hertz of each word."""


def sound_of(words: Sequence[str], seed: int = 0) -> npt.NDArray[np.float64]:
    """The tones of words, [samples].

    Args:
        words: of WORDS.
        seed: of the lengths and of the noise.
    """
    drawn, noise = random.Random(seed), np.random.default_rng(seed)
    parts: list[npt.NDArray[np.float64]] = []
    for word in words:
        times = np.arange(int(RATE * drawn.uniform(0.2, 0.3))) / RATE
        parts += [0.3 * np.sin(2 * np.pi * WORDS[word] * times), np.zeros(RATE // 20)]
    samples = np.concatenate(parts)
    return samples + 0.001 * noise.standard_normal(len(samples))


def sentence(number: int) -> list[str]:
    """The words of an utterance.

    Args:
        number: of the utterance.
    """
    drawn = random.Random(number)
    return [drawn.choice([*WORDS]) for _ in range(drawn.randint(1, 3))]


def plain_corpus(root: Path, counts: dict[str, int]) -> Path:
    """Folders of wav files beside texts, four speakers each.

    Args:
        root: new folder.
        counts: utterances by the name of a split's folder.
    """
    for offset, (name, count) in enumerate(counts.items()):
        for number in range(count):
            words = sentence(1000 * offset + number)
            folder = root / name / f"speaker{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            samples = sound_of(words, 1000 * offset + number)
            soundfile.write(folder / f"{number:03}.wav", samples, RATE)
            (folder / f"{number:03}.txt").write_text(" ".join(words).upper() + "\n")
    return root
