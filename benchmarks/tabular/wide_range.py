"""Voice activity detection from linear magnitudes, whose values span several decades.

Recordings of digits lie between pauses in noise; loudness and noise level differ by recording.
Nothing compresses the magnitudes before the first layer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from autoquant.settings import Search
from autoquant.tasks.supervised import SupervisedTask
from benchmarks.tabular.recordings import Sound, recordings, spectrum

WINDOW, HOP, FRAMES = 128, 128, 48  # frames of 16 ms, sequences of 0.8 s
BINS = WINDOW // 2 + 1
GAIN_DB = (-40.0, 0.0)
NOISE_DB = (-30.0, 0.0)  # relative to the speech
SPEECH_DB = -30.0  # frames above it, relative to the loudest one of the recording, are speech
SEQUENCES = {"train": 900, "valid": 500, "test": 300}


class Detector(nn.Module):
    """Two convolutions over time -> LSTM -> Linear, one decision a frame.

    Args:
        channels: of the convolutions.
        hidden: units of the LSTM.
    """

    def __init__(self, channels: int = 24, hidden: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BINS, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.rnn = nn.LSTM(channels, hidden, batch_first=True)
        self.decision = nn.Linear(hidden, 2)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Logits [B, 2, FRAMES].

        Args:
            magnitudes: [B, BINS, FRAMES].
        """
        values = torch.relu(self.conv2(torch.relu(self.conv1(magnitudes))))
        outputs, _ = self.rnn(values.transpose(1, 2))  # [B, FRAMES, hidden]
        logits: Tensor = self.decision(outputs).transpose(1, 2)
        return logits


def wide_range(score: str, preferred: Search) -> SupervisedTask:
    """The task: speech or not, for each frame.

    Args:
        score: of a split: loss or accuracy.
        preferred: settings of the search.
    """
    indices = {"train": range(15, 50), "valid": range(5, 15), "test": range(5)}
    splits = []
    for number, (name, count) in enumerate(SEQUENCES.items()):
        sounds = [one.sound for one in recordings() if one.index in indices[name]]
        splits.append(_sequences(sounds, count, np.random.default_rng(number)))
    options = {"score": score, "preferred": preferred, "batch_size": 32, "name": "wide-range"}
    return SupervisedTask(Detector, *splits, **options)  # type: ignore[arg-type]


def _sequences(
    sounds: list[Sound], count: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Magnitudes [count, BINS, FRAMES] and whether a frame is speech, [count, FRAMES].

    Args:
        sounds: of speech.
        count: of sequences.
        random: what is drawn.
    """
    pairs = [_sequence(sounds[random.integers(len(sounds))], random) for _ in range(count)]
    magnitudes, speech = (np.stack(part) for part in zip(*pairs, strict=True))
    return torch.from_numpy(magnitudes), torch.from_numpy(speech)


def _sequence(sound: Sound, random: np.random.Generator) -> tuple[Sound, np.ndarray]:
    """Magnitudes [BINS, FRAMES] and whether a frame is speech, [FRAMES].

    Args:
        sound: of speech.
        random: what is drawn.
    """
    samples = (FRAMES - 1) * HOP + WINDOW
    clean = np.zeros(samples, np.float32)
    start = random.integers(0, samples // 2)
    part = sound[: samples - start]
    clean[start : start + len(part)] = part
    energy = (spectrum(clean, WINDOW, HOP) ** 2).sum(1)
    speech = energy > energy.max() * 10 ** (SPEECH_DB / 10)
    level = np.sqrt((part**2).mean()) * 10 ** (random.uniform(*NOISE_DB) / 20)
    noise = random.standard_normal(samples)
    noisy = clean + (level * noise).astype(np.float32)
    gain = 10 ** (random.uniform(*GAIN_DB) / 20)
    return (gain * spectrum(noisy, WINDOW, HOP)).T.copy(), speech.astype(np.int64)
