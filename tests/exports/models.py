"""Small models with packed files, which several tests export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.exports.recording import Source
from autoquant.exports.source import open_source
from autoquant.plan import Bits, LayerChoice
from autoquant.settings import Scheme
from autoquant.task import Example
from autoquant.tasks.language_model import LanguageModel
from autoquant.training.qat import build_candidate
from tests.runtime.pairs import Once, Pair, noise, saved, seeded
from tests.toys import plan_of, prepared


class Spotter(nn.Module):
    """Frames [B, T, 13] to words: two GRU layers, the last step's output."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(13, 24, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(48 if bidirectional else 24, 10)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.rnn(frames)[0][:, -1])


class MeanSpotter(Spotter):
    """The same with the mean over time."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.rnn(frames)[0].mean(1))


class Convolutions(nn.Module):
    """Images [B, 1, 12, 12]: a depthwise convolution, a residual, a norm that is not trivial."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth, self.point = nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.2, 0.2)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        values = torch.relu(self.norm(self.first(images)))
        values = values + torch.relu(self.depth(values))
        return self.head(F.max_pool2d(self.point(values), 2).mean((2, 3)))


class Encoder(nn.Module):
    """Words [B, T]: embeddings, one layer of a transformer, the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 32), nn.Embedding(64, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, words: Tensor) -> Tensor:
        places = torch.arange(words.shape[1], device=words.device)
        return self.head(self.encoder(self.words(words) + self.places(places)).mean(1))


class CellLoop(nn.Module):
    """Frames [B, 6, 13] through a GRUCell: roundings follow one another."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(13, 16), nn.Linear(16, 4)

    def forward(self, frames: Tensor) -> Tensor:
        state = frames.new_zeros(frames.shape[0], 16)
        for frame in frames.unbind(1):
            state = self.cell(frame, state)
        return self.head(state)


class ConvolutionFirst(nn.Module):
    """Frames [B, 6, T] to classes: whatever follows the convolution reads it with its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(6, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.first(frames).transpose(1, 2))


class Tied(nn.Module):
    """Words [B, T] to scores of all words, by the table that they were looked up in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(50, 24), nn.Linear(24, 24)

    def forward(self, words: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.mix(self.table(words))), self.table.weight)


def words(*shape: int) -> Tensor:
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(2))


BUILDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "language": (lambda: LanguageModel(50, 24, 24, 2, 0.0, "lstm"), lambda: words(7, 3)),
    "language gru": (lambda: LanguageModel(50, 20, 24, 1, 0.0, "gru"), lambda: words(7, 3)),
    "spotter": (Spotter, lambda: noise(3, 9, 13)),
    "both ways": (lambda: Spotter(bidirectional=True), lambda: noise(3, 9, 13)),
    "mean": (MeanSpotter, lambda: noise(3, 9, 13)),
    "convolutions": (Convolutions, lambda: noise(2, 1, 12, 12)),
    "encoder": (Encoder, lambda: words(2, 6)),
    "convolution first": (ConvolutionFirst, lambda: noise(3, 6, 9)),
    "weight that is read": (Tied, lambda: words(2, 6)),
    "cell loop": (CellLoop, lambda: noise(3, 6, 13)),
}


@dataclass(frozen=True)
class Packed:
    """A packed file, its float model and an example."""

    pair: Pair
    example: Example

    @property
    def path(self) -> Path:
        return self.pair.path

    def source(self) -> Source:
        """What an export reads."""
        return open_source(self.path, self.pair.build(), self.example)


def packed(
    folder: Path,
    name: str,
    weights: Bits = 4,
    activations: int = 8,
    hidden: int = 8,
    scheme: Scheme | None = None,
    **widths: float,
) -> Packed:
    """A packed file of one of BUILDS.

    Args:
        folder: of the file.
        name: of the model.
        weights: bits of all weights.
        activations: bits of all layer inputs.
        hidden: bits of hidden states.
        scheme: of the quantizers.
        **widths: as in toys.plan_of.
    """
    build, example = BUILDS[name]
    inputs, build = example(), seeded(build, 0)
    model, network = prepared(build(), inputs)
    choice = LayerChoice(weights, activations, 1.0, weights, hidden)
    scheme, plan = scheme or Scheme(), plan_of(network, choice, **widths)
    task = Once(build(), inputs)
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    pair = saved(folder, fake.eval(), network, plan, scheme, build)
    return Packed(pair, Example((inputs,), 1))
