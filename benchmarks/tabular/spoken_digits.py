"""A GRU that classifies spoken digits from log-mel frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from autoquant.settings import Search
from autoquant.tasks.supervised import SupervisedTask
from benchmarks.tabular.recordings import Recording, mel_bands, recordings, spectrum

BANDS, FRAMES = 24, 28
WINDOW, HOP = 512, 256  # 64 and 32 ms
TEST, VALID = range(5), range(5, 20)  # indices of the recordings; the rest is for training


class DigitModel(nn.Module):
    """GRU -> mean over time -> Linear -> ReLU -> Linear.

    Args:
        hidden: units of the GRU.
        head: units of the linear layer before the classes.
    """

    def __init__(self, hidden: int = 48, head: int = 24) -> None:
        super().__init__()
        self.rnn = nn.GRU(BANDS, hidden, batch_first=True)
        self.head = nn.Linear(hidden, head)
        self.dropout = nn.Dropout(0.2)
        self.classes = nn.Linear(head, 10)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits [B, 10].

        Args:
            frames: [B, FRAMES, BANDS].
        """
        outputs, _ = self.rnn(frames)  # [B, FRAMES, hidden]
        logits: Tensor = self.classes(self.dropout(torch.relu(self.head(outputs.mean(1)))))
        return logits


def spoken_digits(score: Literal["loss", "accuracy"], preferred: Search) -> SupervisedTask:
    """The task: ten digits.

    Args:
        score: of a split.
        preferred: settings of the search.
    """
    splits: list[list[Recording]] = [[], [], []]
    for recording in recordings():
        splits[(recording.index in VALID) + 2 * (recording.index in TEST)].append(recording)
    train, valid, test = (_tensors(split) for split in splits)
    mean, deviation = train[0].mean((0, 1)), train[0].std((0, 1))
    train, valid, test = (
        ((inputs - mean) / deviation, digits) for inputs, digits in (train, valid, test)
    )
    options = {"score": score, "preferred": preferred, "batch_size": 64, "name": "spoken-digits"}
    return SupervisedTask(DigitModel, train, valid, test, **options)  # type: ignore[arg-type]


def _tensors(split: list[Recording]) -> tuple[Tensor, Tensor]:
    """Log-mel frames [N, FRAMES, BANDS], cut or padded with silence, and digits [N]."""
    bands, samples = mel_bands(BANDS, WINDOW), (FRAMES - 1) * HOP + WINDOW
    frames = [
        np.log(
            1e-3 + spectrum(np.resize(_padded(one.sound, samples), samples), WINDOW, HOP) @ bands
        )
        for one in split
    ]
    return torch.from_numpy(np.stack(frames)), torch.tensor([one.digit for one in split])


def _padded(sound: np.ndarray, samples: int) -> np.ndarray:
    """A sound with zeros behind it, at least so many samples."""
    return np.pad(sound, (0, max(0, samples - len(sound))))
