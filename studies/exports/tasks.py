"""The five models that are exported, and their data."""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import autoquant as aq
from autoquant.settings import Rounds, Search, Training
from autoquant.tasks.digits import digits
from autoquant.tasks.language import stdlib
from autoquant.tasks.speech.features import Features

SPEECH = Features(cepstra=13, rate=8000, context=0, lifter=22)
FRAMES = 100
"""Of a word: a second; shorter ones begin later, so that all end at the last frame."""


class Spotter(nn.Module):
    """Cepstra [B, T, 13] to ten words: two GRU layers, the last step's output."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(13, 96, 2, batch_first=True)
        self.head = nn.Linear(96, 10)

    def forward(self, cepstra: Tensor) -> Tensor:
        return self.head(self.rnn(cepstra)[0][:, -1])


class Encoder(nn.Module):
    """Pixels as words [B, 64] to ten classes: a transformer encoder of two layers."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, words: Tensor) -> Tensor:
        places = torch.arange(words.shape[1], device=words.device)
        return self.head(self.encoder(self.words(words) + self.places(places)).mean(1))


def language(data: Path) -> Any:
    """The default language model, on the default text."""
    return stdlib()


def spotter(data: Path) -> Any:
    """A GRU keyword spotter on spoken digits; indices 0 to 4 of each speaker and digit test it."""
    with zipfile.ZipFile(data / "fsdd" / "recordings.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
        words = torch.stack([_cepstra(archive.read(name)) for name in names])
    classes = torch.tensor([int(Path(name).name[0]) for name in names])
    index = torch.tensor([int(Path(name).stem.rsplit("_", 1)[1]) for name in names])
    train = index >= 10
    words = (words - words[train].mean((0, 1))) / words[train].std((0, 1))
    splits = [(words[part], classes[part]) for part in (train, (index >= 5) & ~train, index < 5)]
    return aq.SupervisedTask(Spotter, *splits, batch_size=32, name="spotter", preferred=_short(20))


def _cepstra(sound: bytes) -> Tensor:
    """Cepstra of a word, zeros before it, [FRAMES, 13]."""
    with wave.open(io.BytesIO(sound)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
    frames = SPEECH.of_sound((samples / 32768).astype(np.float32))[-FRAMES:]
    return torch.from_numpy(np.pad(frames, ((FRAMES - len(frames), 0), (0, 0))))


def encoder(data: Path) -> Any:
    """A transformer encoder on the digits, whose pixels are words."""
    pixels, digits_of = load_digits(return_X_y=True)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    words, classes = torch.from_numpy(pixels).long()[order], torch.from_numpy(digits_of)[order]
    parts = (slice(0, -600), slice(-600, -300), slice(-300, None))
    splits = [(words[part], classes[part]) for part in parts]
    return aq.SupervisedTask(Encoder, *splits, batch_size=64, name="encoder", preferred=_short(40))


def _short(epochs: float) -> Search:
    return Search(
        baseline=Training(epochs=epochs, lr=2e-3),
        qat=Training(steps=60),
        final=Training(epochs=3.0),
        rounds=Rounds(),
    )


TASKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "language model (LSTM)": (language, "0.15x"),
    "keyword spotter (GRU)": (spotter, "0.15x"),
    "digits (GRU)": (lambda data: digits("gru"), "0.2x"),
    "digits (convolutions)": (lambda data: digits("conv"), "0.2x"),
    "transformer encoder": (encoder, "0.25x"),
}
"""What makes each task, and its budget."""
